/* SPDX-License-Identifier: MIT */
/* Tests of ed25519.c: the vectors of RFC 8032 (7.1) and of BEP 44, every flipped
 * bit, second spellings of S and of keys, points off the curve, and pairs made
 * by OpenSSL, which chose their seeds and messages at random. */
#include "base/ed25519.h"
#include "test/test.h"

struct vector {
	const char *seed, *public, *msg, *sig;
};

static const struct vector rfc8032[] = {
	{ "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
	  "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
	  "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
	  "d25bf5f0595bbe24655141438e7a100b" },
	{ "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
	  "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
	  "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
	  "387b2eaeb4302aeeb00d291612bb0c00" },
	{ "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
	  "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025", "af82",
	  "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
	  "4a7c15e9716ed28dc027beceea1ec40a" },
	{ "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
	  "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
	  "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
	  "454d4423643ce80e2a9ac94fa54ca49f",
	  "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
	  "3dca179c138ac17ad9bef1177331a704" },
	/* by OpenSSL 3.0 */
	{ "7d2d8c303e10d664bf03d8bb388dfa82f2249f811b160d166efc2389e32f3be5",
	  "2fd7674038c851cb7158d457aec750c860d557c68d65000f55d1fcf5c9b19989",
	  "0b",
	  "18e66784304fbd994e6c5560bedd1260c2c0fad65e521659a8a9f822d59cea2d72cc72164df9f88d30923d1e71819873"
	  "2b72d9922d2fcf04863bde89a99f0806" },
	{ "267c313851b99b1fb0a5e198f0765f6c52475d5e0dbbf8f0dc3f593d57af1e70",
	  "58a807a3d321b59d39e0c96bbdbb07bdcbed0636ff8e27ff5a3a20fda44cfec4",
	  "9e6588544e83fe8d6789e0b0315ca73e14ae1f58cdb4daf780af341f58ecd0dbce58ba0f1cd12bf232029f83be1ba8cd"
	  "b4ac26105a57eb828635a95c1931de",
	  "9559c90abb86222c79c8660b1f2d50f453f1e0d5a643ed381e336a73a9868ca1e4c179ab348241a1396fc302a06b9302"
	  "eed826b8854818fe02ebbb92f15e820d" },
	{ "38aa0f3bed273331c928977689cd3c70a9ee5164db90e598053f54b2f31f42fc",
	  "3341556c3ae9ca8251ce98777c8f7a2f8343a22d0664cfaa68a6d89773d98a87",
	  "2ab091562ce2037f8d7a5f60b22aca4aba802d57591d8e9fab7ad6091bc21b54b0a7c7dacc33d659df06ca05cdcaed63"
	  "e16ac11886a869f7a13c3217c5956bda",
	  "0cba9eb2c05aa95b6d00670cf5e9a893d376f16a673645ef1058ac663e286eae600d099865e687c99717106bc7478fcc"
	  "c781e81f019c53cab84a47e2e424c104" },
	{ "888214930ac1d769875e7527ca871ad1e058c90bc4eadf59d3d56b166d43f67a",
	  "ad44d230b95ffe977c1e8b9ce5c7d80af668a1cca959f2256d5185d98c4673ff",
	  "0c4e4d62f6bb485cd04110d69465d5eb1369e86d50631a040b95fb68541a26b6d0131821ad222daa7c5d7efec010cd82"
	  "5cff05225b7910b934057baf45e76198e88074877050152bd6fb87b6881f9bfb5a894fecac7927bbc4c4ff60aa743ead"
	  "16480c5a7907bb9e7aab4e2eec80d8",
	  "c39613c7d2d8de10fede04dc49302115abfb1989245c4cf0ecaa8df693924cbaf42273cc011a9ca1fa00a743c449804f"
	  "b5940a752b0e2525f09f9ea07b6bd60a" },
	{ "200a47e891c9e50048dd697d48282dbad9b0babd65ade6f9881fc1c588385f8a",
	  "d398cfb91bf0cc0e3e270c5cc3847e821a316389439283f0739bfd75141e849e",
	  "a3a865ac8922903468ac4188166217d8e1f3282a13fd7e20e7852eda727ca71d3cc5d12df4a6a97f2d1406882682406b"
	  "edde8d793a658d5843986a374a7d60f486af99b83042bbf7e0bd596cb557c3379f39d862d3f83b808920834c149c4eba"
	  "f35e3f9b953c03925ab37946c5e4e42b",
	  "d20cb5de65c5d29e4fd939e7dcd8f8e427c8b854686b53cc7f58d824d75e94940939c4070c588c8e39d6835d54c757d9"
	  "f4bf9c63552119d9f76242ba19fd0a00" },
	{ "8417fb447db9da1e0f25ef69ee9104fbb9e14a6fd54f3efef2ed8152de82232f",
	  "09f59b69dd38979ce6f582c8b046d0236681dc60e138a89357ee938a68819ea6",
	  "92f5d82b209a067065d55e40bc86d18581de4e69b10612b52d441633e630a99421de442e570c1ea4c9871574c5ca0ce5"
	  "d2c5118f5e09a2cd41a7937bc41fc23c2b76ea0299796b210cb4401303168e2a98b24944cc24118fed62433fa78126e0"
	  "09f50a4fe48a9c86059b9040e17e9b969909c0bf9ae384a0655fe9b4aed786",
	  "9d17c703e3435fa1a804d2e33a0eb3cb28f093facf13fdee8498eb01e14acacae52bded051e9acacb24683cd8a83506a"
	  "3c926babdc4b5084904d98cd68359f0b" },
	{ "c3e40172f5d3d5db2e187c16815bae6696f179420b1739cb93133ff03e622d32",
	  "2c13981f7f031e034561ad728c365d1c2484c02286b6e41ec524df644af6aadb",
	  "2f9ec412b3a0df91879143e30c05cf2372890daf95bded09cfa25f09c20cbc388de0469fcb016c846b2e34241d37e929"
	  "e002879d24e7b92ff51b43ef2361fd24e4c7de343f8f925099aa7356764a986516c2438b66a95e5c7717f1b4a604811c"
	  "4d4980608293e3c3a534a52993a1206798016716ea474f5174d72d8d6ff4d35e",
	  "4c89dcf0e9c23942e978fbf4f59435db9f366d6744bf0770be4cc916f29fcd8b3d29da9a4af22ee70f31c30739a9e77d"
	  "a722aaf0fa9b355dc8f5977f74262100" },
	{ "202dc94b0cc3054854bef60c71dfeb5db9d0feaa16a6d40855660bd9787a35fc",
	  "f86b8e4041e43b9ff16b028b30fdbf86bf61905092ddfb6b5bcde9144985b51b",
	  "5bb4e5bf14b4876f7d9bf1243dd0dadb6a723b39adbec6747add1c7bdad59c020d5c457051b4ade7f8cd0ce8f9797b41"
	  "ccef7f045484a2b73267cdbe2a044fe08e87b9557483a1502e321f234e8f0f23887214f3bdc9f3c62c6584b6e4aa6c13"
	  "444e4c2303cecfeb440a1d13983ed67fb95ddb3b365b0912c3be2cf24dc14aea6c",
	  "b324ff2261984f78db6b66512ef605ca9d62c659df584f3429b65646b212ebfb1b57d6c60d2cd3ddc512b561e979c706"
	  "dc4bca088988995ca1c12aaae904ba01" },
	{ "320c3758369ca13dea13ff1fa176d9686a83f55644043ee383ca2da641ae6ed7",
	  "e5a99fba13719c79be617f0b82bfa48b230d13909cbea6d2094ec815d141a322",
	  "92cfa9b7ccd0c3874534d98dde65756d009b48f62cfb6a8605f18f8a4682e2e7d50ee772acc3ba078ef1478d1f9ea72f"
	  "56187097c3315f119852af3190bd94d0850b4afba19ffca4d645da7f2165c6f60e8409292270555934377a0d80ce6c28"
	  "8508b994c7a51a78545d82571101095530281b823b9897c79b4b4d3e225cb7267af05cc947954204d81235820cfcbfc2"
	  "ab1e435aa6054ae5bdae83df4e53877573037e43fa03ed922823fced4b35ecf2afe9caf2a07489bef3ab4516d4e25da6"
	  "1e197903bb19422a",
	  "909c6b93d628dc183c93dd4cb0864f7d398b7f56769f773b6c5a0bb7516c5b5c62acdba57dfebf016d775f01c3b1a36f"
	  "2c03aa0fa7cfa371f28919c0168c5c0f" },
	{ "91e35660813fb63e5d2d1489cf0bec2355ee1ae2c443f503afd244ba80f6f5b5",
	  "eab7e8f3a2c4f2b463f429eb8d02609623eebf2c5881ca8a83ee4be960a9e049",
	  "620d159161e048e355df882b77e6a7d79af25d3dd63d474c9b422f9b1143b440111f4aa462d81eb9e04a21b8b3adb3c0"
	  "1b1d248f3436af5b04dbb9079026540454cbd050bdc822891d30f4302d9d35422470a77e0abbd3820351e32d8bf2d41e"
	  "45993842960ae289c35512d8d420b38bf87078e33c9c8916406bdd7d6253a70ef0c8d77057f6ad64e7fda6e95ebd5e2c"
	  "9eeacd3ac0658880ea5551eff294f6a742d83ed963dad4758774f02b4742b1f67834b0aad4633909aa1fe3e7538e7f60"
	  "e425bc9ebc3b78167c18e5e46be654e8332519af3cc94e78cf39f7558d6c56d1667146e700c431bc168f9d3d07011cf2"
	  "08d86b5bf531dcfbf173",
	  "a011554ee4c69068d35f3c11ce501fed3784e5f3a27c0f0a1b3163f5918194c5f3e8cf411227ee92e27dea673731f750"
	  "22c758a2734a523692d78bdb0bb9290b" },
};

static size_t hex(uint8_t *out, size_t max, const char *text)
{
	size_t n = strlen(text) / 2;

	CHECK(n <= max && hex_decode(out, n, slice_str(text)));
	return n;
}

static void test_vectors(void)
{
	for (size_t i = 0; i < ARRAY_LEN(rfc8032); i++) {
		uint8_t seed[32], public[32], sig[64], msg[512], secret[64], out[64];
		size_t n;

		hex(seed, 32, rfc8032[i].seed);
		hex(public, 32, rfc8032[i].public);
		hex(sig, 64, rfc8032[i].sig);
		n = hex(msg, sizeof(msg), rfc8032[i].msg);
		ed25519_secret(secret, seed);
		ed25519_public(out, secret);
		CHECK(memcmp(out, public, 32) == 0);
		ed25519_sign(out, slice_of(msg, n), public, secret);
		CHECK(memcmp(out, sig, 64) == 0);
		CHECK(ed25519_verify(sig, slice_of(msg, n), public));
		if (n) {
			msg[n - 1] ^= 1;
			CHECK(!ed25519_verify(sig, slice_of(msg, n), public));
			CHECK(!ed25519_verify(sig, slice_of(msg, n - 1), public));
		}
	}
}

/* The private key of BEP 44 is what ed25519_secret gives. */
static void test_bep44(void)
{
	static const char msg[] = "3:seqi1e1:v12:Hello World!";
	uint8_t secret[64], public[32], want[64], out[64];

	hex(secret, 64, "e06d3183d14159228433ed599221b80bd0a5ce8352e4bdf0262f76786ef1c74d"
			"b7e7a9fea2c0eb269d61e3b38e450a22e754941ac78479d6c54e1faf6037881d");
	hex(want, 32, "77ff84905a91936367c01360803104f92432fcd904a43511876df5cdf3e7e548");
	ed25519_public(public, secret);
	CHECK(memcmp(public, want, 32) == 0);
	hex(want, 64, "305ac8aeb6c9c151fa120f120ea2cfb923564e11552d06a5d856091e5e853cff"
		      "1260d3f39e4999684aa92eb73ffd136e6f4f3ecbfda0ce53a1608ecd7ae21f01");
	ed25519_sign(out, slice_str(msg), public, secret);
	CHECK(memcmp(out, want, 64) == 0);
}

static void test_refused(void)
{
	/* the order of the group, little-endian */
	static const uint8_t order[32] = { 0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7,
					   0xa2, 0xde, 0xf9, 0xde, 0x14, [31] = 0x10 };
	uint8_t seed[32], secret[64], public[32], sig[64], bad[64], key[32];
	struct slice msg = slice_str("a message");
	unsigned carry = 0, step = 7, off_curve = 0;

	memset(seed, 7, sizeof(seed));
	ed25519_secret(secret, seed);
	ed25519_public(public, secret);
	ed25519_sign(sig, msg, public, secret);
	CHECK(ed25519_verify(sig, msg, public));
	for (unsigned i = 0; i < 512; i += step) {
		memcpy(bad, sig, 64);
		bad[i / 8] = (uint8_t)(bad[i / 8] ^ 1u << i % 8);
		CHECK(!ed25519_verify(bad, msg, public));
	}
	for (unsigned i = 0; i < 256; i += step) {
		memcpy(key, public, 32);
		key[i / 8] = (uint8_t)(key[i / 8] ^ 1u << i % 8);
		CHECK(!ed25519_verify(sig, msg, key));
	}
	/* S + L means the same, and would make a second signature of the first */
	memcpy(bad, sig, 64);
	for (int i = 0; i < 32; i++) {
		carry += (unsigned)sig[32 + i] + order[i];
		bad[32 + i] = (uint8_t)carry;
		carry >>= 8;
	}
	CHECK(!ed25519_verify(bad, msg, public));
	/* y = p + 1 is y = 1 written a second way: the neutral element, for which
	 * R = S = 0 * B would be a signature of everything */
	memset(bad, 0, sizeof(bad));
	bad[0] = 1;
	memset(key, 0, sizeof(key));
	key[0] = 1;
	CHECK(ed25519_verify(bad, msg, key)); /* RFC 8032 allows keys of small order */
	memset(key, 0xff, sizeof(key));
	key[0] = 0xee;
	key[31] = 0x7f;
	CHECK(!ed25519_verify(bad, msg, key));
	/* x = 0 has no sign */
	memset(key, 0, sizeof(key));
	key[0] = 1;
	key[31] = 0x80;
	CHECK(!ed25519_verify(bad, msg, key));
	/* half of all y are on no point */
	for (uint8_t y = 2; y < 34; y++) {
		memset(key, 0, sizeof(key));
		key[0] = y;
		off_curve += !ed25519_verify(bad, msg, key);
	}
	CHECK(off_curve == 32);
}

int main(void)
{
	test_vectors();
	test_bep44();
	test_refused();
	return test_done();
}
