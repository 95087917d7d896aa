/* SPDX-License-Identifier: MIT */
/* options.c - one parser for every command, driven by the command's table:
 * "--name value", "--name=value", "-n value", "-nvalue", grouped flags "-qv",
 * "--" ends options, operands may stand between them. The help is printed from
 * the same table. */
#include "app/app.h"

#include <stdlib.h>
#include <string.h>

#define HELP_COLUMN 26
#define LINE_END 79

struct parse {
	const struct command *cmd;
	char *args;
	int argc, next; /* next: index of the argument not looked at yet */
	char **argv;
	struct texts *operands;
};

static bool optional_value(const struct opt *o) { return o->arg != NULL && o->arg[0] == '['; }

static const struct opt *find_long(const struct command *cmd, const char *name, size_t len)
{
	for (size_t i = 0; i < cmd->nopts; i++)
		if (strlen(cmd->opts[i].name) == len && memcmp(cmd->opts[i].name, name, len) == 0)
			return &cmd->opts[i];
	return NULL;
}

static const struct opt *find_letter(const struct command *cmd, char letter)
{
	for (size_t i = 0; i < cmd->nopts; i++)
		if (cmd->opts[i].letter == letter)
			return &cmd->opts[i];
	return NULL;
}

/* Decimal digits up to max. */
static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t n = 0;

	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return false;
		n = n * 10 + (uint64_t)(*text - '0');
		if (n > max)
			return false;
	}
	*out = n;
	return true;
}

static bool parse_ratio(const char *text, double *out)
{
	double whole = 0, scale = 1;
	bool point = false, digits = false;

	for (; *text != '\0'; text++) {
		if (*text == '.' && !point) {
			point = true;
		} else if (*text >= '0' && *text <= '9' && whole < 1e6) {
			digits = true;
			whole = whole * 10 + (*text - '0');
			scale *= point ? 10 : 1;
		} else {
			return false;
		}
	}
	*out = whole / scale;
	return digits && *out > 0;
}

/* HOST:PORT, 1.2.3.4:PORT or [V6]:PORT. Whether the host exists is for later. */
static bool peer_ok(const char *text)
{
	const char *colon = strrchr(text, ':');
	uint64_t port;

	if (colon == NULL || colon == text || !parse_number(colon + 1, 65535, &port) || port == 0)
		return false;
	if (text[0] == '[')
		return colon - text > 2 && colon[-1] == ']';
	return memchr(text, ':', (size_t)(colon - text)) == NULL;
}

/* Index of value among "auto|map|pool". */
static bool parse_choice(const char *words, const char *value, unsigned *out)
{
	size_t len = strlen(value);

	for (unsigned i = 0;; i++) {
		size_t n = strcspn(words, "|");
		if (n == len && memcmp(words, value, n) == 0) {
			*out = i;
			return true;
		}
		if (words[n] == '\0')
			return false;
		words += n + 1;
	}
}

/* A rate may say that it is one: 500k/s. */
static bool parse_rate(const char *text, uint64_t *out)
{
	char copy[64];
	size_t len = strlen(text);

	if (len > 2 && strcmp(text + len - 2, "/s") == 0)
		len -= 2;
	if (len >= sizeof(copy))
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	return size_parse(copy, out);
}

/* Stores the value of o, or says what it should have been. */
static const char *store(struct parse *ps, const struct opt *o, const char *value)
{
	void *at = ps->args + o->off;
	struct texts *texts = at;
	uint64_t n;

	switch (o->kind) {
	case OPT_FLAG:
		*(bool *)at = true;
		return NULL;
	case OPT_TEXT:
		*(const char **)at = value;
		return *value != '\0' ? NULL : "must not be empty";
	case OPT_PEERS:
		if (!peer_ok(value))
			return "is not HOST:PORT";
		/* fall through */
	case OPT_TEXTS:
		if (texts->v == NULL)
			texts->v = calloc((size_t)ps->argc + 1, sizeof(*texts->v));
		if (texts->v == NULL)
			return "does not fit in memory";
		texts->v[texts->n++] = value;
		return NULL;
	case OPT_SIZE:
		return size_parse(value, at) ? NULL : "is not a size (for example 512k, 1.5M or 16MiB)";
	case OPT_RATE:
		return parse_rate(value, at) ? NULL : "is not a rate (bytes per second, for example 500k or 1.5M)";
	case OPT_COUNT:
		if (!parse_number(value, UINT32_MAX, &n) || n == 0)
			return "is not a number above 0";
		*(uint32_t *)at = (uint32_t)n;
		return NULL;
	case OPT_PORT:
		if (!parse_number(value, 65535, &n))
			return "is not a port (0 to 65535)";
		*(uint16_t *)at = (uint16_t)n;
		return NULL;
	case OPT_CHOICE:
		return parse_choice(o->arg, value, at) ? NULL : "is none of the choices";
	case OPT_RATIO:
		if (value == NULL)
			*(double *)at = -1;
		else if (!parse_ratio(value, at))
			return "is not a ratio above 0 (for example 1.5)";
		return NULL;
	}
	return NULL;
}

static int set(struct parse *ps, const struct opt *o, const char *shown, const char *value)
{
	const char *wrong;

	if (value == NULL && o->arg != NULL && !optional_value(o)) {
		if (ps->next == ps->argc) {
			complain(ps->cmd->name, "%s needs a value: %s", shown, o->arg);
			return -1;
		}
		value = ps->argv[ps->next++];
	}
	wrong = store(ps, o, value);
	if (wrong == NULL)
		return 0;
	if (o->kind == OPT_CHOICE)
		complain(ps->cmd->name, "%s: '%s' is none of %s", shown, value, o->arg);
	else
		complain(ps->cmd->name, "%s: '%s' %s", shown, value, wrong);
	return -1;
}

static int parse_long(struct parse *ps, const char *arg)
{
	size_t len = strcspn(arg + 2, "=");
	const char *value = arg[2 + len] == '=' ? arg + 2 + len + 1 : NULL;
	const struct opt *o = find_long(ps->cmd, arg + 2, len);
	char shown[64];

	if (strcmp(arg, "--help") == 0)
		return 1;
	snprintf(shown, sizeof(shown), "--%.*s", (int)(len < 60 ? len : 60), arg + 2);
	if (o == NULL) {
		complain(ps->cmd->name, "there is no option %s; 'bt help %s' lists them", shown, ps->cmd->name);
		return -1;
	}
	if (value != NULL && o->arg == NULL) {
		complain(ps->cmd->name, "%s takes no value", shown);
		return -1;
	}
	return set(ps, o, shown, value);
}

static int parse_letters(struct parse *ps, const char *arg)
{
	for (const char *p = arg + 1; *p != '\0'; p++) {
		const struct opt *o = find_letter(ps->cmd, *p);
		char shown[3] = { '-', *p, '\0' };

		if (o == NULL && *p == 'h')
			return 1;
		if (o == NULL) {
			complain(ps->cmd->name, "there is no option %s; 'bt help %s' lists them", shown,
				 ps->cmd->name);
			return -1;
		}
		if (o->arg != NULL) /* the rest is the value, or the next argument */
			return set(ps, o, shown, p[1] != '\0' ? p + 1 : NULL);
		if (set(ps, o, shown, NULL) < 0)
			return -1;
	}
	return 0;
}

int options_parse(const struct command *cmd, int argc, char **argv, void *args, struct texts *operands)
{
	struct parse ps = { .cmd = cmd, .args = args, .argc = argc, .argv = argv, .operands = operands };
	bool only_operands = false;

	operands->v = calloc((size_t)argc + 1, sizeof(*operands->v));
	operands->n = 0;
	if (operands->v == NULL) {
		complain(cmd->name, "not enough memory");
		return -1;
	}
	while (ps.next < argc) {
		const char *arg = argv[ps.next++];
		int r = 0;

		if (only_operands || arg[0] != '-' || arg[1] == '\0')
			operands->v[operands->n++] = arg;
		else if (strcmp(arg, "--") == 0)
			only_operands = true;
		else
			r = arg[1] == '-' ? parse_long(&ps, arg) : parse_letters(&ps, arg);
		if (r != 0)
			return r;
	}
	if (operands->n < cmd->min_operands || operands->n > cmd->max_operands) {
		complain(cmd->name, "%s; usage: bt %s [OPTION...] %s",
			 operands->n < cmd->min_operands ? "nothing to work on" : "too many arguments", cmd->name,
			 cmd->operands);
		return -1;
	}
	return 0;
}

void print_wrapped(FILE *f, const char *text, int column, int indent)
{
	while (*text != '\0') {
		size_t len = strcspn(text, " \n");
		int space = column > indent;

		if (space && column + 1 + (int)len > LINE_END) {
			fprintf(f, "\n%*s", indent, "");
			column = indent;
			space = 0;
		}
		fprintf(f, "%s%.*s", space ? " " : "", (int)len, text);
		column += space + (int)len;
		text += len;
		if (*text == '\n') {
			fprintf(f, "\n%*s", indent, "");
			column = indent;
		}
		text += *text != '\0';
	}
	fputc('\n', f);
}

void options_help(const struct command *cmd, FILE *f)
{
	fprintf(f, "Usage: bt %s %s%s\n\n", cmd->name, cmd->nopts > 0 ? "[OPTION...] " : "", cmd->operands);
	print_wrapped(f, cmd->details, 0, 0);
	if (cmd->nopts > 0)
		fputs("\nOptions:\n", f);
	for (size_t i = 0; i < cmd->nopts; i++) {
		const struct opt *o = &cmd->opts[i];
		char head[128];
		int n;

		if (o->letter != 0)
			n = snprintf(head, sizeof(head), "  -%c, --%s", o->letter, o->name);
		else
			n = snprintf(head, sizeof(head), "      --%s", o->name);
		if (optional_value(o)) /* "[RATIO]" is shown as "[=RATIO]" */
			n += snprintf(head + n, sizeof(head) - (size_t)n, "[=%s", o->arg + 1);
		else if (o->arg != NULL)
			n += snprintf(head + n, sizeof(head) - (size_t)n, " %s", o->arg);
		if (n > HELP_COLUMN - 2)
			n = fprintf(f, "%s\n", head) * 0;
		else
			n = fprintf(f, "%s", head);
		fprintf(f, "%*s", HELP_COLUMN - n, "");
		print_wrapped(f, o->help, HELP_COLUMN, HELP_COLUMN);
	}
	fputs("\nExit status:\n  ", f);
	print_wrapped(f, cmd->status, 2, 2);
}
