/* SPDX-License-Identifier: MIT */
/* Tests of swarm/publish.c: what bt_meta_parse reads is what is on disk, links
 * are settled, padding aligns, the same tree gives the same bytes. */
#include "bt.h"

#include "base/base.h"
#include "sha1.h"
#include "test/test.h"

#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[128];
static char err[512];
static char warnings[4096];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
	(void)st, (void)type, (void)at;
	return remove(path);
}

static void put(const char *path, char with, size_t n)
{
	FILE *f = fopen(path, "w");

	if (!f)
		abort();
	while (n-- > 0)
		fputc(with, f);
	fclose(f);
}

static void on_warning(void *arg, const char *text)
{
	(void)arg;
	strncat(warnings, text, sizeof(warnings) - strlen(warnings) - 2);
	strcat(warnings, "\n");
}

static struct bt_meta *publish(const struct bt_publish *p)
{
	struct bt_meta *m = NULL;
	uint8_t *again, *b;
	size_t len, len2;
	char why[256];

	*warnings = 0;
	b = bt_publish(p, &len, err, sizeof(err));
	if (b) {
		again = bt_publish(p, &len2, err, sizeof(err));
		CHECK(again && len == len2 && memcmp(b, again, len) == 0);
		free(again);
		m = bt_meta_parse(b, len, why, sizeof(why));
		CHECK(m != NULL);
		free(b);
	} else {
		CHECK(*err && len == 0);
	}
	return m;
}

static struct bt_meta *publish_one(const char *path, uint64_t piece_len, bool pad)
{
	struct bt_publish p = { .paths = &path, .npaths = 1, .piece_len = piece_len, .pad_files = pad,
				.on_warning = on_warning };

	return publish(&p);
}

/* Reads the files named by the torrent, with name as the directory they are in. */
static bool matches(const struct bt_meta *m, const char *dir)
{
	uint8_t *all = calloc(1, (size_t)m->size + 1), digest[SHA1_LEN];
	bool ok = all != NULL;

	for (uint32_t i = 0; ok && i < m->nfiles; i++) {
		const struct bt_file *f = &m->files[i];
		char path[512];
		int fd;

		if (f->attr & (BT_FILE_PAD | BT_FILE_SYMLINK) || f->len == 0)
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, f->path);
		fd = open(path, O_RDONLY);
		ok = fd >= 0 && read(fd, all + f->off, (size_t)f->len + 1) == (ssize_t)f->len;
		close(fd);
	}
	for (uint32_t i = 0; ok && i < m->pieces; i++) {
		uint64_t off = i * m->piece_len;

		sha1(all + off, (size_t)min_u64(m->piece_len, m->size - off), digest);
		ok = memcmp(digest, m->hashes + (size_t)i * SHA1_LEN, SHA1_LEN) == 0;
	}
	free(all);
	return ok;
}

static const struct bt_file *file(const struct bt_meta *m, const char *path)
{
	for (uint32_t i = 0; i < m->nfiles; i++) {
		if (strcmp(m->files[i].path, path) == 0)
			return &m->files[i];
	}
	return NULL;
}

static void test_tree(void)
{
	struct bt_meta *m;

	CHECK(mkdir("t", 0755) == 0 && mkdir("t/d", 0755) == 0 && mkdir("t/none", 0755) == 0);
	put("t/a", 'a', 20000);
	put("t/d/b", 'b', 100);
	put("t/d/c", 'c', 16384);
	put("t/empty", 0, 0);
	put("t/z", 'z', 1);
	put("out", 'o', 77);
	CHECK(chmod("t/z", 0755) == 0);
	m = publish_one("t", 16384, false);
	if (!m)
		return;
	CHECK(strcmp(m->name, "t") == 0 && !m->single_file && m->nfiles == 5 && m->size == 36485 && m->pieces == 3);
	CHECK(matches(m, ".") && !*warnings && file(m, "t/z")->attr == BT_FILE_EXEC && file(m, "t/empty")->len == 0);
	CHECK(strcmp(m->created_by, "bt/" BT_VERSION) == 0 && m->creation_date == 0);
	bt_meta_free(m);
	m = publish_one("t", 16384, true);
	CHECK(m && m->nfiles == 7 && matches(m, ".")); /* d/c fills its piece */
	for (uint32_t i = 0; m && i < m->nfiles; i++)
		CHECK(m->files[i].attr & BT_FILE_PAD || m->files[i].len == 0 || m->files[i].off % 16384 == 0);
	CHECK(m && file(m, "t/z")->off + 1 == m->size);
	bt_meta_free(m);
	m = publish_one("t/d/c", 0, true);
	CHECK(m && m->single_file && strcmp(m->name, "c") == 0 && m->size == 16384 && m->pieces == 1 && matches(m, "t/d"));
	bt_meta_free(m);
}

static void test_links(void)
{
	struct bt_meta *m;

	/* inside; to a directory inside; to a link inside; outside file and directory; nowhere; in a
	 * circle; to the top itself; to what is left out; by name inside, truly elsewhere */
	CHECK(symlink("d/b", "t/l1") == 0 && symlink("../d", "t/d/l2") == 0 && symlink("d/l2", "t/l3") == 0);
	CHECK(symlink("../out", "t/l4") == 0 && symlink("/", "t/l5") == 0 && symlink("nowhere", "t/l6") == 0);
	CHECK(symlink("l7", "t/l7") == 0 && symlink(".", "t/l8") == 0 && symlink("l5", "t/l9") == 0);
	CHECK(mkdir("far", 0755) == 0 && mkdir("far/d", 0755) == 0);
	put("far/a", 'f', 5);
	CHECK(symlink("../far/d", "t/up") == 0 && symlink("up/../a", "t/l10") == 0);
	m = publish_one("t", 16384, false);
	CHECK(m != NULL);
	if (!m)
		return;
	CHECK(m->nfiles == 10 && matches(m, "."));
	CHECK(file(m, "t/l1") && strcmp(file(m, "t/l1")->target, "d/b") == 0 && file(m, "t/l1")->len == 0);
	CHECK(file(m, "t/d/l2") && file(m, "t/l3") && strcmp(file(m, "t/l3")->target, "d/l2") == 0);
	CHECK(file(m, "t/l4") && !file(m, "t/l4")->target && file(m, "t/l4")->len == 77);
	CHECK(!file(m, "t/l5") && !file(m, "t/l6") && !file(m, "t/l7") && !file(m, "t/l8") && !file(m, "t/l9"));
	CHECK(file(m, "t/l10") && !file(m, "t/l10")->target && file(m, "t/l10")->len == 5);
	CHECK(strstr(warnings, "t/l5: left out") && strstr(warnings, "t/l6: ") && strstr(warnings, "t/l9: "));
	bt_meta_free(m);
}

static void test_several(void)
{
	const char *paths[] = { "out", "t/d" }, *trackers[] = { "http://a/announce", "udp://b:1" }, *seeds[] = { "http://w/" };
	struct bt_publish p = { .paths = paths, .npaths = 2, .trackers = trackers, .ntrackers = 2, .web_seeds = seeds,
				.nweb_seeds = 1, .comment = "note", .source = "S", .is_private = true, .date = 1000000 };
	struct bt_meta *m;

	CHECK(publish(&p) == NULL && strstr(err, "choose a name"));
	p.name = "pair";
	m = publish(&p);
	CHECK(m && strcmp(m->name, "pair") == 0 && file(m, "pair/out") && file(m, "pair/d/b") && m->is_private);
	CHECK(m && m->ntrackers == 2 && m->trackers[1].tier == 1 && m->nweb_seeds == 1 && m->creation_date == 1000000);
	CHECK(m && strcmp(m->comment, "note") == 0 && strcmp(m->source, "S") == 0);
	/* ../d leads to the directory it is in; the reader says that shorter */
	CHECK(m && file(m, "pair/d/l2") && strcmp(file(m, "pair/d/l2")->target, ".") == 0);
	bt_meta_free(m);
	paths[0] = "t/a";
	p.name = NULL;
	m = publish(&p);
	CHECK(m && strcmp(m->name, "t") == 0 && file(m, "t/a") && file(m, "t/d/c"));
	bt_meta_free(m);
}

static bool stop(void *arg, uint64_t done, uint64_t total)
{
	(void)arg, (void)done, (void)total;
	return false;
}

static void test_refused(void)
{
	const char *path = "t/empty";
	struct bt_publish p = { .paths = &path, .npaths = 1 };

	CHECK(publish(&p) == NULL && strstr(err, "empty"));
	path = "t/none";
	CHECK(publish(&p) == NULL && strstr(err, "no files"));
	path = "missing";
	CHECK(publish(&p) == NULL && strstr(err, "missing: No such file"));
	p.npaths = 0;
	CHECK(publish(&p) == NULL);
	p.npaths = 1;
	CHECK(publish(&(struct bt_publish){ .paths = &(const char *){ "t" }, .npaths = 1, .name = "a/b" }) == NULL);
	CHECK(publish(&(struct bt_publish){ .paths = &(const char *){ "t" }, .npaths = 1, .name = ".." }) == NULL);
	path = "t";
	for (uint64_t len = 1; len; len <<= 1) {
		p.piece_len = len;
		if (len < 16384 || len > 256 << 20)
			CHECK(publish(&p) == NULL && strstr(err, "piece length"));
	}
	p.piece_len = 3 << 14;
	CHECK(publish(&p) == NULL && strstr(err, "piece length"));
	p.piece_len = 0;
	p.on_progress = stop;
	CHECK(publish(&p) == NULL && strcmp(err, "stopped") == 0);
	/* more pieces than others take: found before anything is read */
	p.on_progress = NULL;
	CHECK(truncate("out", (off_t)16384 * 0x200001) == 0);
	path = "out";
	p.piece_len = 16384;
	CHECK(publish(&p) == NULL && strstr(err, "larger piece length"));
}

static void test_names(void)
{
	struct bt_meta *m;

	CHECK(mkdir("n", 0755) == 0);
	put("n/bad\xff\x1b", 'x', 3);
	put("n/back\\slash", 'x', 3);
	put("n/fine \xc3\xa4:?", 'x', 3);
	m = publish_one("n", 0, false);
	CHECK(m && m->nfiles == 3 && file(m, "n/fine \xc3\xa4:?"));
	CHECK(strstr(warnings, "n/bad??: the receiver") && strstr(warnings, "slash: the receiver") && !strstr(warnings, "fine"));
	bt_meta_free(m);
}

int main(void)
{
	if (!test_dir(top, sizeof(top)) || chdir(top) < 0)
		return 1;
	test_tree();
	test_links();
	test_several();
	test_names();
	test_refused();
	CHECK(chdir("/") == 0);
	(void)nftw(top, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return test_done();
}
