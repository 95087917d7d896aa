/* SPDX-License-Identifier: MIT */
/* ed25519.h - signatures (RFC 8032, PureEdDSA over edwards25519), as items of
 * the DHT carry them (BEP 44). Whatever touches a secret takes the same time
 * for every secret: no branch and no index depends on one. Pure; no allocation. */
#ifndef BT_ED25519_H
#define BT_ED25519_H

#include "base/base.h"

#define ED25519_SEED 32   /* what RFC 8032 calls the private key: any 32 random bytes */
#define ED25519_SECRET 64 /* the seed's SHA-512, clamped: what BEP 44 calls the private key */
#define ED25519_PUBLIC 32
#define ED25519_SIG 64

/* What a seed stands for. Signing needs the secret, not the seed; the seed can't
 * be had back from it. */
void ed25519_secret(uint8_t secret[ED25519_SECRET], const uint8_t seed[ED25519_SEED]);
void ed25519_public(uint8_t public[ED25519_PUBLIC], const uint8_t secret[ED25519_SECRET]);
/* public must be the one of secret: a signature for another gives the secret away. */
void ed25519_sign(uint8_t sig[ED25519_SIG], struct slice msg, const uint8_t public[ED25519_PUBLIC],
		  const uint8_t secret[ED25519_SECRET]);
/* Strict: each signature has one spelling (S below the group's order), each key too. */
bool ed25519_verify(const uint8_t sig[ED25519_SIG], struct slice msg, const uint8_t public[ED25519_PUBLIC]) BT_MUST_USE;

#endif
