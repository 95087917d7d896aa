# bt: `make`, `make test`, `make demo`; no configure step. Variants get their own
# directory under build/: STATIC=1, CC=musl-gcc, SAN=address,undefined, CROSS_COMPILE=.
CC = gcc
AR = $(CROSS_COMPILE)ar
PREFIX = /usr/local
tool := $(CROSS_COMPILE)$(CC)
variant := $(subst $(empty) ,-,$(strip $(filter-out gcc,$(notdir $(CC))) $(CROSS_COMPILE:%-=%) \
	$(if $(STATIC),static) $(if $(SAN),san)))
B := build$(variant:%=/%)

WARN := -Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes -Wformat=2
OUR_CFLAGS := -std=gnu11 -O2 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -D_TIME_BITS=64 -I. $(WARN) $(if $(CI),-Werror) \
	-fno-strict-aliasing -fstack-protector-strong -ffunction-sections -fdata-sections -fPIE \
	$(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
OUR_LDFLAGS := -Wl,--gc-sections -Wl,-z,relro,-z,now $(if $(SAN),-fsanitize=$(SAN)) $(if $(STATIC),-static)
LIBS := -lbearssl

# One archive per layer, lowest first; the order is the rule that none reaches upward.
LAYERS := base net torrent disk wire find swarm core
src_base := $(wildcard base/*.c) bencode.c sha1.c net.c
src_core := bt.c
src = $(or $(src_$1),$(wildcard $1/*.c))
obj = $(patsubst %.c,$B/%.o,$1)
ARCHIVES := $(LAYERS:%=$B/lib%.a)
# archives from a layer down, highest first, as the linker wants them
down_base := base
down_net := net base
down_torrent := torrent base
down_disk := disk base
down_wire := wire torrent base
down_find := find net base
down_swarm := swarm find wire disk torrent net base
down_core := core $(down_swarm)

all: $B/bt $B/libbt.a
$B/bt: $(call obj,$(wildcard app/*.c)) $B/libbt.a
	$(tool) $(OUR_LDFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) $B/libbt.a $(LIBS)
$B/libbt.a: $(foreach l,$(LAYERS),$(call obj,$(call src,$l)))
	@rm -f $@
	$(AR) rcs $@ $^
define archive
$B/lib$1.a: $(call obj,$(call src,$1))
	@rm -f $$@
	$(AR) rcs $$@ $$^
$B/test/unit/$1/%: $B/test/unit/$1/%.o $(patsubst %,$B/lib%.a,$(down_$1))
	$(tool) $(OUR_LDFLAGS) $(LDFLAGS) -o $$@ $$< $(patsubst %,$B/lib%.a,$(down_$1)) $(LIBS)
endef
$(foreach l,$(LAYERS),$(eval $(call archive,$l)))
$B/%.o: %.c
	@mkdir -p $(@D)
	$(tool) $(OUR_CFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

UNIT := $(patsubst %.c,$B/%,$(wildcard test/unit/*/*.c))
FUZZ := $(patsubst %.c,$B/%,$(wildcard test/fuzz/*.c))
units: $(UNIT)

clean:
	rm -rf build
-include $(shell find $B -name '*.d' 2>/dev/null)
.PHONY: all units clean
.SECONDARY:
