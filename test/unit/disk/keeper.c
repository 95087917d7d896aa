/* SPDX-License-Identifier: MIT */
/* What a crash, a full disk or a stranger's hand leaves behind: loop and keeper
 * killed, resume after clean and unclean stops, changed files, no space. Needs 128 MiB. */
#include "rig.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>

static const uint64_t lens[] = { 300000, 700001, 65536, 5 };

static void test_keeper_killed(void)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	int fds = count_fds();

	torrent_make(&t, 65536, lens, 4);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	CHECK(rig_check(&r, 0, LOC_NONE, false) && rig_wait(&r, &r.ok, 1, 5000));
	kill(disk_keeper_pid(r.disk), SIGKILL);
	CHECK(rig_wait(&r, &r.dead, 1, 5000));
	CHECK(strstr(r.why, "signal 9") != NULL);
	CHECK(rig_check(&r, 1, LOC_NONE, false)); /* taken, never answered */
	disk_read_text(r.disk, "/etc/passwd", on_text, &r);
	CHECK(rig_wait(&r, &r.texts, 1, 1000) && r.text_err < 0);
	rig_idle(&r, 30);
	CHECK(r.dead == 1 && r.ok == 1 && r.lost == 0);
	CHECK(rig_close(&r, NULL, 0)); /* the client can still end in order */
	r.store = store_open(r.disk, &(struct store_spec){ .dir = r.dir, .info_hash = t.id, .size = t.size,
		.piece_len = t.piece_len, .pieces = t.pieces, .hashes = t.hashes, .files = t.files, .nfiles = t.nfiles,
		.on_open = on_open, .on_closed = on_closed, .arg = &r });
	CHECK(rig_wait(&r, &r.opened, 2, 1000) && r.open_err < 0);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
	CHECK(count_fds() == fds);
}

/* The loop's whole life in a child: opens, stores n pieces, then dies as told. */
static void loop_life(const char *dir, struct torrent *t, uint32_t n, bool wait_ok, bool kill_both)
{
	pid_t pid = fork(), keeper = 0;
	int status, tell[2];

	if (pipe(tell) < 0)
		abort();
	if (pid == 0) {
		struct rig r;
		struct disk_opts o;

		rig_init(&r, t);
		snprintf(r.dir, sizeof(r.dir), "%s", dir);
		o = rig_opts(&r);
		if (!rig_disk(&r, &o) || !rig_open(&r))
			_exit(2);
		for (uint32_t i = 0; i < n; i++)
			if (!rig_check(&r, i, LOC_NONE, false))
				_exit(3);
		if (wait_ok && !rig_wait(&r, &r.ok, (int)n, 10000))
			_exit(4);
		if (!wait_ok && net_turn(&r.net, 0) < 0) /* sent, that is all */
			_exit(5);
		if (kill_both)
			kill(disk_keeper_pid(r.disk), SIGKILL);
		kill(getpid(), SIGKILL);
	}
	close(tell[0]);
	close(tell[1]);
	CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
	while ((keeper = waitpid(-1, &status, 0)) > 0 || errno == EINTR) /* we are its next parent */
		CHECK(WIFEXITED(status) || kill_both);
}

static void test_loop_killed(void)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;

	torrent_make(&t, 65536, lens, 4);
	for (int wait_ok = 0; wait_ok < 2; wait_ok++) {
		rig_init(&r, &t);
		dir_make(r.dir);
		loop_life(r.dir, &t, 6, wait_ok, false);
		/* what the keeper was given is on disk and in the journal */
		o = rig_opts(&r);
		CHECK(rig_disk(&r, &o) && rig_open(&r));
		CHECK(bits_count(store_have(r.store), t.pieces) == 6);
		CHECK(r.checking_ok == 0);
		CHECK(rig_all(&r) && rig_close(&r, NULL, 0) && files_equal(&r));
		rig_release(&r);
		rm_tree(r.dir);
	}
	torrent_free(&t);
}

/* Both killed: the record did not come, the data is looked at and found. */
static void test_both_killed(void)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;

	torrent_make(&t, 65536, lens, 4);
	rig_init(&r, &t);
	dir_make(r.dir);
	loop_life(r.dir, &t, 6, true, true);
	o = rig_opts(&r);
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	CHECK(bits_count(store_have(r.store), t.pieces) == 6);
	CHECK(r.checking_ok == 6);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

static uint32_t partial_index, partial_blocks;
static uint8_t partial_bits[8];

static void on_partial(void *arg, uint32_t index, const uint8_t *bits, uint32_t nblocks)
{
	(void)arg;
	partial_index = index;
	partial_blocks = nblocks;
	memcpy(partial_bits, bits, bits_len(nblocks));
}

static void spoil(const struct rig *r, const char *name, off_t off)
{
	int fd = open(path_in(r, name), O_RDWR);
	char c = 0;

	CHECK(fd >= 0 && pread(fd, &c, 1, off) == 1);
	c ^= 1;
	CHECK(pwrite(fd, &c, 1, off) == 1);
	close(fd);
}

static void test_resume(bool one_process)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	struct store_spec s;
	uint32_t frames[2];
	const struct store_partial half = { .index = 5, .bits = (const uint8_t[]){ 0x60 }, .nblocks = 4 };

	torrent_make(&t, 65536, lens, 4);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = one_process;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	for (uint32_t i = 0; i < t.pieces; i++)
		if (i != 5)
			CHECK(rig_check(&r, i, LOC_NONE, false));
	CHECK(rig_wait(&r, &r.ok, (int)t.pieces - 1, 5000));
	for (uint32_t i = 0; i < 2; i++) {
		frames[i] = disk_frame_get(r.disk);
		memcpy(disk_frame(r.disk, frames[i]), t.data + 5 * 65536 + (1 + i) * BLOCK_LEN, BLOCK_LEN);
	}
	CHECK(store_write(r.store, 5, 1, frames, 2) && rig_wait(&r, &r.written, 1, 5000));
	CHECK(rig_close(&r, &half, 1));

	/* clean: nothing is read, the half piece is known */
	CHECK(rig_open(&r));
	CHECK(r.checking == 0 && bits_count(store_have(r.store), t.pieces) == t.pieces - 1);
	partial_blocks = 0;
	store_partials(r.store, on_partial, NULL);
	CHECK(partial_index == 5 && partial_blocks == 4 && partial_bits[0] == 0x60);
	CHECK(rig_close(&r, &half, 1));

	/* a changed file: its pieces are looked at, and only they */
	spoil(&r, "c.bin", 20000);
	CHECK(rig_open(&r));
	CHECK(r.checking > 0 && r.checking <= 3 && r.checking_ok == r.checking - 1);
	CHECK(bits_count(store_have(r.store), t.pieces) == t.pieces - 2);
	CHECK(rig_close(&r, &half, 1));

	/* told to look at everything; writes nothing when told so */
	spoil(&r, "c.bin", 20000);
	s = rig_spec(&r);
	s.check_only = true;
	CHECK(rig_open_spec(&r, &s));
	CHECK(r.checking == (int)t.pieces && r.checking_ok == (int)t.pieces - 1);
	CHECK(bits_count(store_have(r.store), t.pieces) == t.pieces - 1);
	CHECK(rig_close(&r, NULL, 0));
	s.check_only = false;
	s.force_check = true;
	CHECK(rig_open_spec(&r, &s));
	CHECK(r.checking == (int)t.pieces && r.checking_ok == (int)t.pieces - 1);
	CHECK(rig_close(&r, NULL, 0));

	/* a deleted file: its pieces are not had */
	CHECK(unlink(path_in(&r, "sub/b.bin")) == 0);
	CHECK(rig_open(&r));
	CHECK(bits_count(store_have(r.store), t.pieces) == t.pieces - 12 && r.checking_ok == 0);
	CHECK(rig_all(&r) && rig_close(&r, NULL, 0) && files_equal(&r));

	/* closed while looking: the rest is looked at next time, nothing is lost */
	s = rig_spec(&r);
	s.force_check = true;
	rig_reset(&r);
	r.store = store_open(r.disk, &s);
	CHECK(rig_close(&r, NULL, 0));
	CHECK(rig_open(&r) && bits_count(store_have(r.store), t.pieces) == t.pieces);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* Holes are not read, but a piece of zeros in a sparse file is a piece. */
static void test_sparse(void)
{
	const uint64_t piece_len = large(1 << 20), lens64[] = { 64 * piece_len };
	const size_t n = (size_t)piece_len;
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	int fd;

	torrent_make(&t, piece_len, lens64, 1);
	memset(t.data + 8 * n, 0, 4 * n);
	for (uint32_t i = 8; i < 12; i++)
		sha1(t.data + i * n, n, t.hashes + 20 * i);
	rig_init(&r, &t);
	dir_make(r.dir);
	fd = open(path_in(&r, "a.bin"), O_RDWR | O_CREAT, 0666);
	CHECK(ftruncate(fd, (off_t)(64 * n)) == 0 && pwrite(fd, t.data + 30 * n, n, (off_t)(30 * n)) == (ssize_t)n);
	close(fd);
	o = rig_opts(&r);
	CHECK(rig_disk(&r, &o));
	CHECK(rig_open(&r));
	CHECK(bits_count(store_have(r.store), t.pieces) == 5 && r.checking_ok == 5 && r.checking <= 6);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* A file that goes away while pieces are stored is named. */
static void test_deleted(void)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;

	torrent_make(&t, 65536, lens, 4);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.sync_ms = 50;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	CHECK(rig_check(&r, 8, LOC_NONE, false) && rig_wait(&r, &r.ok, 1, 5000));
	rig_idle(&r, 120);
	CHECK(r.failed == 0);
	CHECK(unlink(path_in(&r, "sub/b.bin")) == 0);
	CHECK(rig_check(&r, 9, LOC_NONE, false));
	CHECK(rig_wait(&r, &r.failed, 1, 5000));
	CHECK(strstr(r.what, "sub/b.bin") != NULL);
	rig_idle(&r, 30); /* piece 9 has its answer too */
	r.lost = r.ok = 0;
	CHECK(rig_check(&r, 10, LOC_NONE, false) && rig_wait(&r, &r.lost, 1, 5000)); /* dead stores still answer */
	CHECK(disk_frames_free(r.disk) == disk_frames_total(r.disk));
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* fdatasync fails: those pieces are lost, whatever a later one says. The keeper is
 * in this process, so its descriptor can be spoilt: O_PATH knows no syncing. */
static void test_sync_fails(void)
{
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	char link[64], to[256];
	int spoilt = 0;

	torrent_make(&t, 65536, lens, 4);
	rig_init(&r, &t);
	dir_make(r.dir);
	o = rig_opts(&r);
	o.one_process = true;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	CHECK(rig_check(&r, 0, LOC_NONE, false) && rig_check(&r, 1, LOC_NONE, false) && rig_wait(&r, &r.ok, 2, 5000));
	store_sync(r.store);
	CHECK(rig_wait(&r, &r.synced, 1, 5000) && r.sync_err == 0);
	CHECK(rig_check(&r, 2, LOC_NONE, false) && rig_check(&r, 3, LOC_NONE, false) && rig_wait(&r, &r.ok, 4, 5000));
	for (int fd = 3; fd < 64; fd++) {
		snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, to, sizeof(to) - 1);
		if (n < 0)
			continue;
		to[n] = '\0';
		if (strcmp(to, path_in(&r, "a.bin")) != 0)
			continue;
		int path = open(to, O_PATH);
		CHECK(dup2(path, fd) == fd);
		close(path);
		spoilt++;
	}
	CHECK(spoilt == 1);
	store_sync(r.store);
	CHECK(rig_wait(&r, &r.synced, 2, 5000) && r.sync_err < 0);
	CHECK(r.lost == 2 && r.failed == 1 && strstr(r.what, "a.bin") != NULL);
	CHECK(bits_count(store_have(r.store), t.pieces) == 2);
	CHECK(rig_close(&r, NULL, 0));
	rig_release(&r);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* 3 MiB of space for 6 MiB: pause, then go on when somebody makes room. */
static void full_disk(bool one_process)
{
	const uint64_t big[] = { 6 << 20 };
	struct torrent t;
	struct rig r;
	struct disk_opts o;
	char opts[] = "size=3m";
	int fd;

	torrent_make(&t, 256 << 10, big, 1);
	rig_init(&r, &t);
	dir_make(r.dir);
	if (mount("bt-test", r.dir, "tmpfs", 0, opts) < 0) {
		printf("skipped: no tmpfs can be mounted here\n");
		goto out;
	}
	fd = open(path_in(&r, "ballast"), O_RDWR | O_CREAT, 0666);
	CHECK(fd >= 0 && posix_fallocate(fd, 0, 1 << 20) == 0);
	o = rig_opts(&r);
	o.one_process = one_process;
	o.sync_ms = 100;
	CHECK(rig_disk(&r, &o) && rig_open(&r));
	for (uint32_t i = 0; i < t.pieces; i++)
		CHECK(rig_check(&r, i, LOC_NONE, false));
	CHECK(rig_wait(&r, &r.full, 1, 5000));
	CHECK(strstr(r.what, "a.bin") != NULL && strstr(r.what, strerror(ENOSPC)) != NULL);
	rig_idle(&r, 1500);
	CHECK(r.full == 1 && r.space == 0 && r.failed == 0);
	CHECK(r.ok > 4 && r.ok < 12 && r.lost > 0);
	CHECK(disk_frames_total(r.disk) - disk_frames_free(r.disk) <= disk_frames_total(r.disk) / 4);
	/* room: what waited is written */
	CHECK(mount("bt-test", r.dir, "tmpfs", MS_REMOUNT, "size=20m") == 0);
	CHECK(rig_wait(&r, &r.space, 1, 8000));
	CHECK(rig_wait(&r, &r.ok, (int)t.pieces - r.lost, 5000));
	CHECK(disk_frames_free(r.disk) == disk_frames_total(r.disk));
	for (uint32_t i = 0; i < t.pieces; i++)
		if (!bit_get(store_have(r.store), i))
			CHECK(rig_check(&r, i, LOC_NONE, false));
	rig_idle(&r, 300);
	CHECK(bits_count(store_have(r.store), t.pieces) == t.pieces);
	CHECK(rig_close(&r, NULL, 0) && files_equal(&r));
	close(fd);
out:
	rig_release(&r);
	umount2(r.dir, MNT_DETACH);
	rm_tree(r.dir);
	torrent_free(&t);
}

/* In a mount namespace of their own, both kinds at once: they mostly wait. */
static pid_t start_full(bool one_process)
{
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
		printf("skipped: no mounts of our own without root\n");
		fflush(stdout);
		_exit(0);
	}
	test_passed = test_failed = 0;
	full_disk(one_process);
	fflush(stdout);
	_exit(test_failed ? 1 : 0);
}

static void test_full(void)
{
	pid_t pid[2] = { start_full(true), start_full(false) };
	int status;

	for (int i = 0; i < 2; i++)
		CHECK(waitpid(pid[i], &status, 0) == pid[i] && WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(void)
{
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	test_keeper_killed();
	test_loop_killed();
	test_both_killed();
	test_resume(true);
	test_resume(false);
	test_sparse();
	test_deleted();
	test_sync_fails();
	fflush(stdout);
	test_full();
	return test_done();
}
