/* SPDX-License-Identifier: MIT */
/* fuzz_main.c - a plain main for a fuzz target: replays the files and folders
 * it is given, each input twice, so that state left over from the first time
 * shows. libFuzzer brings its own main under `make fuzz`. */
#include "test/test.h"
#include <dirent.h>
#include <stdint.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_file(const char *path)
{
	FILE *f = fopen(path, "rb");
	struct stat st;
	uint8_t *data; /* of the exact size, so that sanitizers see the first byte past it */
	size_t size;

	CHECK(f && fstat(fileno(f), &st) == 0);
	if (!f)
		return;
	size = (size_t)st.st_size;
	data = malloc(size ? size : 1);
	CHECK(data && fread(data, 1, size, f) == size);
	fclose(f);
	/* Findings abort; libFuzzer's 0 and -1 both mean the input was looked at. */
	CHECK(data && LLVMFuzzerTestOneInput(data, size) <= 0);
	CHECK(data && LLVMFuzzerTestOneInput(data, size) <= 0);
	free(data);
}

static void replay(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *e;

	if (!dir) {
		replay_file(path);
		return;
	}
	while ((e = readdir(dir))) {
		char name[4096];

		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
		replay(name);
	}
	closedir(dir);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay(argv[i]);
	CHECK(test_passed > 0); /* an empty corpus proves nothing */
	return test_done();
}
