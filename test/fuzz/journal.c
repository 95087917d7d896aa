/* SPDX-License-Identifier: MIT */
/* journal.c (fuzz) - a journal's two halves, 512 bytes each of snapshot and log,
 * with the CRCs put right so that more than the CRC is tested: what is read is
 * inside its bounds, and the journal goes on from exactly there. */
#include "disk/journal.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static void seal(uint8_t *snap, uint8_t *log)
{
	if (get_u32(snap + 72) >= 80 && get_u32(snap + 72) <= 512)
		put_u32(snap + 8, crc32c(0, snap + 12, get_u32(snap + 72) - 12));
	for (uint8_t *r = log; get_u32(r + 4) > 0 && get_u32(r + 4) < 20 && r < log + 400; r += 16 + 4 * get_u32(r + 4)) {
		memcpy(r + 8, snap + 24, 8);
		put_u32(r, crc32c(0, r + 4, 12 + 4 * get_u32(r + 4)));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t image[16384];
	char name[] = "/dev/shm/bt-fuzz-XXXXXX";
	static const uint8_t id[20] = "an info-hash, 20 byt";
	struct journal_opts o = { .dirfd = AT_FDCWD, .name = name, .id = id, .pieces = 40, .nfiles = 2, .piece_len = 1 << 18 };
	struct journal_state s, again;
	struct journal *j;
	int fd = mkstemp(name);
	memset(image, 0, sizeof(image));
	for (size_t i = 0; i < 4 && size > i * 512; i++)
		memcpy(image + 4096 * i, data + i * 512, min_size(size - i * 512, 512));
	seal(image, image + 4096);
	seal(image + 8192, image + 12288);
	if (fd < 0 || pwrite(fd, image, sizeof(image), 0) != sizeof(image) || journal_open(&j, &o, &s) < 0)
		abort();
	if (!bits_spare_clear(s.have, 40) || journal_have(j, &(uint32_t){ 39 }, 1) < 0)
		abort();
	for (size_t i = 0; i < s.npartials; i++)
		if (s.partials[i].index >= 40 || !s.partials[i].nblocks || s.partials[i].nblocks > 16 || !s.partials[i].bits)
			abort();
	bit_set(s.have, 39);
	journal_drop(j);
	if (journal_open(&j, &o, &again) < 0 || !again.found || again.clean || memcmp(s.have, again.have, 5))
		abort();
	journal_drop(j);
	journal_state_release(&s);
	journal_state_release(&again);
	unlink(name);
	close(fd);
	return 0;
}
