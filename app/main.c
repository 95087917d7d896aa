/* SPDX-License-Identifier: MIT */
/* main.c - the table of commands, their help, and the choice among them.
 * `bt X.torrent` alone means `bt get X.torrent`. */
#include "app/app.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command *const commands[] = { &cmd_get, &cmd_seed, &cmd_create, &cmd_show, &cmd_verify,
						 &cmd_bench };

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

static void print_overview(FILE *f)
{
	fputs("bt " BT_VERSION " - download, share, make and check torrents\n"
	      "\n"
	      "Usage: bt COMMAND [OPTION...] [ARGUMENT...]\n"
	      "       bt X.torrent    the same as: bt get X.torrent\n"
	      "\n"
	      "Commands:\n",
	      f);
	for (size_t i = 0; i < COUNT_OF(commands); i++)
		fprintf(f, "  %-9s %s\n", commands[i]->name, commands[i]->summary);
	fputs("  help      explain a command: bt help get\n"
	      "  version   print the version\n"
	      "\n"
	      "Examples:\n"
	      "  bt get debian.torrent -d ~/Downloads\n"
	      "  bt get a.torrent b.torrent --down 2M --seed=1.5\n"
	      "  bt create holiday/ -t http://tracker.example/announce\n"
	      "  bt seed holiday.torrent\n"
	      "  bt verify debian.torrent -d ~/Downloads\n"
	      "  bt bench get 127.0.0.1:6881 debian.torrent -c 50\n"
	      "\n"
	      "Exit status: 0 success, 1 error, 2 wrong usage, 3 stopped before the end,\n"
	      "4 data missing or damaged. The manual is bt(1).\n",
	      f);
}

static int run_help(int argc, char **argv)
{
	const struct command *cmd;

	if (argc == 0) {
		print_overview(stdout);
		return EXIT_GOOD;
	}
	cmd = find_command(argv[0]);
	if (cmd == NULL) {
		complain("help", "'%s' is not a command; 'bt help' lists them", argv[0]);
		return EXIT_USAGE;
	}
	options_help(cmd, stdout);
	return EXIT_GOOD;
}

static int run_command(const struct command *cmd, int argc, char **argv)
{
	struct texts operands = { 0 };
	void *args = calloc(1, cmd->args_size);
	int status;

	if (args == NULL) {
		complain(cmd->name, "not enough memory");
		return EXIT_ERROR;
	}
	switch (options_parse(cmd, argc, argv, args, &operands)) {
	case 0:
		status = cmd->run(args, &operands);
		break;
	case 1:
		options_help(cmd, stdout);
		status = EXIT_GOOD;
		break;
	default:
		status = EXIT_USAGE;
	}
	free(operands.v);
	free(args);
	return status;
}

/* Does a first word that is no command mean "get this"? */
static bool looks_like_torrent(const char *arg)
{
	size_t len = strlen(arg);

	return arg[0] == '-' || strchr(arg, '/') != NULL || strncmp(arg, "magnet:", 7) == 0 ||
	       (len > 8 && strcmp(arg + len - 8, ".torrent") == 0) || access(arg, F_OK) == 0;
}

static int choose(int argc, char **argv)
{
	const char *word = argc > 1 ? argv[1] : "";
	const struct command *cmd = find_command(word);

	if (argc < 2) {
		print_overview(stderr);
		return EXIT_USAGE;
	}
	if (cmd != NULL)
		return run_command(cmd, argc - 2, argv + 2);
	if (strcmp(word, "help") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
		return run_help(argc - 2, argv + 2);
	if (strcmp(word, "version") == 0 || strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0) {
		puts("bt " BT_VERSION);
		return EXIT_GOOD;
	}
	if (looks_like_torrent(word))
		return run_command(&cmd_get, argc - 1, argv + 1);
	complain(NULL, "'%s' is neither a command nor a file; 'bt help' lists the commands", word);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	int status = choose(argc, argv);

	/* `bt show X > full-disk` has not shown anything. */
	if (fflush(stdout) != 0 || ferror(stdout)) {
		if (errno != EPIPE)
			complain(NULL, "cannot write the output: %s", strerror(errno));
		return status != EXIT_GOOD ? status : EXIT_ERROR;
	}
	return status;
}
