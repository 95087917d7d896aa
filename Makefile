# bt: `make`, `make test`, `make demo`; no configure step. Variants get their own directory
# under build/: CC=clang, STATIC=1, STATIC=1 CC=musl-gcc, SAN=address,undefined,
# STATIC=1 CROSS_COMPILE=mips-linux-gnu-. CFLAGS and LDFLAGS are yours and come last.
CC = gcc
AR = $(CROSS_COMPILE)ar
PREFIX = /usr/local
FUZZ_SECONDS = 60
tool := $(CROSS_COMPILE)$(CC)
musl := $(findstring musl,$(tool))
fuzzing := $(findstring fuzzer,$(SAN))
variant := $(subst $(empty) ,-,$(strip $(filter-out gcc,$(notdir $(CC))) $(CROSS_COMPILE:%-=%) \
	$(if $(STATIC),static) $(if $(SAN),$(if $(fuzzing),fuzz,san))))
B := build$(variant:%=/%)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 \
	$(if $(musl),-Wno-sign-conversion) # its CMSG_NXTHDR
# Hardening. Flags that only some compilers and targets know are tried first.
SAFE := -fno-strict-aliasing -fstack-protector-strong $(if $(SAN),,-D_FORTIFY_SOURCE=2 -fwrapv) \
	$(shell for f in -fno-delete-null-pointer-checks -fstack-clash-protection -ftrivial-auto-var-init=zero \
	-fcf-protection -mbranch-protection=standard; do \
	$(tool) -Werror $$f -x c -c /dev/null -o /dev/null 2>/dev/null && echo $$f; done)
# Small where musl is asked for (428 -> 350 KB), but for the hash lanes.
OPT := $(if $(musl),-Os,-O2)
OUR_CFLAGS := -std=gnu11 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -I. $(WARN) $(if $(CI),-Werror) \
	$(SAFE) -ffunction-sections -fdata-sections -fPIE \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer,-fno-asynchronous-unwind-tables)
# Static programs are position-independent too where the C library has the start
# file for it; musl-gcc must be told which one, Debian's cross libraries lack it.
rcrt1 := $(firstword $(wildcard /usr/lib/*-linux-musl/rcrt1.o /usr/local/musl/lib/rcrt1.o))
OUR_LDFLAGS := -Wl,--gc-sections -Wl,-z,relro,-z,now,-z,noexecstack $(if $(SAN),-fsanitize=$(SAN))
ifneq ($(STATIC),)
OUR_LDFLAGS += $(if $(CROSS_COMPILE)$(musl),-static,-static-pie)
ifneq ($(and $(musl),$(rcrt1)),)
OUR_LDFLAGS += -nostartfiles -Wl,-pie,--no-dynamic-linker,-z,text $(rcrt1)
endif
endif

# Debian's libbearssl is for native glibc; for the rest it is built from Debian's source package.
BEARSSL := $(if $(musl)$(CROSS_COMPILE),build/bearssl)
LIBS := $(if $(BEARSSL),$B/libbearssl.a,-lbearssl)
OUR_CFLAGS += $(BEARSSL:%=-isystem %/inc)

# One archive per layer, lowest first; the order is the rule that none reaches upward.
LAYERS := base net torrent disk wire find swarm core load
src_base := $(wildcard base/*.c) bencode.c sha1.c net.c
src_core := bt.c
src = $(or $(src_$1),$(wildcard $1/*.c))
obj = $(patsubst %.c,$B/%.o,$1)
link = $(tool) $(OUR_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(LIBS)
# archives from a layer down, highest first, as the linker wants them
down_base := base
down_net := net base
down_torrent := torrent base
down_disk := disk base
down_wire := wire torrent base
down_find := find net base
down_swarm := swarm find wire disk torrent net base
down_core := core $(down_swarm)
down_load := load wire torrent net base# `bt bench`: 24 KB, and 10 in app/

all: $B/bt $B/libbt.a
$B/bt: $(call obj,$(wildcard app/*.c)) $B/libbt.a
	$(link)
$B/libbt.a: $(foreach l,$(LAYERS),$(call obj,$(call src,$l)))
	@rm -f $@
	$(AR) rcs $@ $^
$B/sha1.o $B/base/sha1_ni.o: OPT := -O2
define layer
$B/lib$1.a: $(call obj,$(call src,$1))
	@rm -f $$@
	$(AR) rcs $$@ $$^
$B/test/unit/$1/%: $B/test/unit/$1/%.o $(patsubst %,$B/lib%.a,$(down_$1))
	$$(link)
endef
$(foreach l,$(LAYERS),$(eval $(call layer,$l)))
# A fuzz target brings libFuzzer's main under SAN=fuzzer, else replays its corpus.
$B/test/fuzz/%: $B/test/fuzz/%.o $(if $(fuzzing),,$B/test/fuzz_main.o) $B/libbt.a
	$(link)
$B/bench/%: $B/bench/%.o $B/libbt.a
	$(link)
$B/%.o: %.c Makefile | $B/ready
	@mkdir -p $(@D)
	$(tool) $(OPT) $(OUR_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

# The compiler and BearSSL are here, or one line says what to install. `make` installs nothing itself.
finds = $(shell echo '#include <$1>' | $(tool) -fsyntax-only -x c - 2>/dev/null && echo yes)
package := $(or $(musl:musl=musl-tools),$(CROSS_COMPILE:%-=gcc-%),$(CC))
$B/ready:
	$(if $(shell command -v $(tool)),,$(error $(tool) is missing: apt-get install $(package)))
	$(if $(call finds,stdlib.h),,$(error $(tool) finds no C library: apt-get install libc6-dev or libc6-dev-ARCH-cross))
	$(if $(or $(BEARSSL),$(call finds,bearssl.h)),,$(error BearSSL is missing: apt-get install libbearssl-dev))
	@mkdir -p $B
ifneq ($(BEARSSL),)
	@pkg/bearssl.sh $(BEARSSL)
	@$(MAKE) -s -C $(BEARSSL) lib BUILD='$(abspath $B)/bearssl' CC='$(tool)' CFLAGS='-Os -fPIC' AR='$(AR)'
	@cp $B/bearssl/libbearssl.a $B
endif
	@touch $@

programs = $(patsubst %.c,$B/%,$(wildcard $1))
units: $(call programs,test/unit/*/*.c)
fuzzers: $(call programs,test/fuzz/*.c)
# For test/layers: each layer and what it may use.
layers: $(LAYERS:%=$B/lib%.a) $(call obj,$(wildcard app/*.c))
	@echo 'in: $B'
	@$(foreach l,$(LAYERS),echo '$l: $(down_$l)';)

test: # `test/run PART...` runs parts of it
	@test/run
fuzz:
	@test/run fuzz $(FUZZ_SECONDS)
demo:
	@pkg/deps.sh && $(MAKE) -s && test/demo
bench: $(call programs,bench/*.c)
	@for b in $^; do echo "== $$b"; $$b || exit 1; done
size: all
	@$(CROSS_COMPILE)strip -o $B/bt.stripped $B/bt && wc -c <$B/bt.stripped
	@$(CROSS_COMPILE)size $B/bt $(call obj,$(wildcard app/*.c) $(foreach l,$(LAYERS),$(call src,$l))) | sort -rn
at := $(DESTDIR)$(PREFIX)
install: all
	install -d $(at)/bin $(at)/lib $(at)/include $(at)/share/man/man1
	install -m 755 $B/bt $(at)/bin
	install -m 644 $B/libbt.a $(at)/lib
	install -m 644 bt.h $(at)/include
	install -m 644 pkg/bt.1 $(at)/share/man/man1
clean:
	rm -rf build

-include $(shell find $B -name '*.d' 2>/dev/null)
.PHONY: all units fuzzers layers test demo fuzz bench size install clean
.SECONDARY:
