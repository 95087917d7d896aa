/* SPDX-License-Identifier: MIT */
/* Tests of base/buf.c: the ceiling is exact, failure sticks, nothing is lost. */
#include "base/base.h"
#include "test/test.h"

static void puts_and_drops(void)
{
	struct buf b;

	buf_init(&b, 1000);
	CHECK(b.n == 0 && !b.failed);
	buf_put(&b, NULL, 0);
	buf_puts(&b, "abc");
	buf_u8(&b, 'd');
	buf_u16(&b, 0x0102);
	buf_u32(&b, 0x03040506);
	CHECK(b.n == 10 && memcmp(b.p, "abcd\1\2\3\4\5\6", 10) == 0);
	buf_drop(&b, 4);
	CHECK(b.n == 6 && memcmp(b.p, "\1\2\3\4\5\6", 6) == 0);
	buf_drop(&b, 0);
	CHECK(b.n == 6);
	buf_drop(&b, 100);
	CHECK(b.n == 0 && !b.failed);
	buf_printf(&b, "%d-%s", 42, "x");
	CHECK(b.n == 4 && memcmp(b.p, "42-x", 4) == 0);
	buf_printf(&b, "%s", "");
	CHECK(b.n == 4);
	buf_release(&b);
	CHECK(b.p == NULL && b.max == 1000);
	buf_puts(&b, "again");
	CHECK(b.n == 5);
	buf_release(&b);
}

static void ceiling(void)
{
	struct buf b;

	for (size_t max = 0; max < 200; max++) {
		buf_init(&b, max);
		for (size_t i = 0; i < max; i++)
			buf_u8(&b, (uint8_t)i);
		CHECK(b.n == max && !b.failed);
		buf_u8(&b, 0);
		CHECK(b.n == max && b.failed);
		buf_clear(&b);
		CHECK(b.n == 0 && !b.failed);
		/* a text that just fits, with no room for printf's NUL */
		buf_printf(&b, "%*s", (int)max, "");
		CHECK(b.n == max && !b.failed);
		buf_printf(&b, "x");
		CHECK(b.n == max && b.failed);
		buf_clear(&b);
		/* failure sticks even for what would fit */
		CHECK(!buf_reserve(&b, max + 1) && b.failed);
		buf_put(&b, "", 0);
		buf_printf(&b, "%s", "");
		CHECK(b.n == 0 && !buf_reserve(&b, 0));
		buf_release(&b);
	}
	buf_init(&b, SIZE_MAX);
	buf_puts(&b, "abc");
	CHECK(!buf_reserve(&b, SIZE_MAX) && b.failed && b.n == 3);
	buf_release(&b);
}

int main(void)
{
	puts_and_drops();
	ceiling();
	return test_done();
}
