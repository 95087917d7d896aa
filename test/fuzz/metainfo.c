/* SPDX-License-Identifier: MIT */
/* Fuzz target of torrent/metainfo.c and paths.c: whatever is accepted has only
 * paths and links that stay below the download directory, each file its own
 * path, and sizes that add up. */
#include "torrent/metainfo.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void stays_inside(const struct bt_meta *m, const struct bt_file *f)
{
	struct buf b;

	for (const char *p = f->path, *end;; p = end + 1) {
		size_t n = (size_t)((end = strchrnul(p, '/')) - p);

		if (n == 0 || n > 255 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			abort();
		if (!*end)
			break;
	}
	buf_init(&b, 10000);
	if (strlen(f->path) > 4095 || !f->target != !(f->attr & BT_FILE_SYMLINK) ||
	    (f->target && !path_link_target(&b, f->path + strlen(m->name) + 1, f->target)))
		abort();
	buf_release(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char err[100];
	struct bt_meta *m = bt_meta_parse(data, size, err, sizeof(err));
	const char **path = alloc_array(m ? m->nfiles : 0, sizeof(*path));
	uint64_t sum = 0;
	size_t n = 0;

	for (uint32_t i = 0; m && i < m->nfiles; sum += m->files[i++].len) {
		stays_inside(m, &m->files[i]);
		if (m->files[i].off != sum)
			abort();
		if (!(m->files[i].attr & BT_FILE_PAD))
			path[n++] = m->files[i].path;
	}
	qsort(path, n, sizeof(*path), by_name);
	for (size_t i = 1; i < n; i++)
		if (strcmp(path[i - 1], path[i]) == 0)
			abort();
	if (m && (sum != m->size || sum == 0 || (sum - 1) / m->piece_len + 1 != m->pieces))
		abort();
	free(m ? bt_meta_magnet(m) : NULL);
	free(path);
	bt_meta_free(m);
	return 0;
}
