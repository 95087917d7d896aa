/* SPDX-License-Identifier: MIT */
/* signals.c - Ctrl-C and its relatives. A session holds them back and reads them
 * from a signalfd in its one poll(), so none is missed and none interrupts a
 * system call. (ppoll would not do: while a descriptor is always ready it lets
 * no signal in.) The keeper is forked with them held and so outlives a Ctrl-C,
 * which the terminal sends to the whole group; it ends when its loop does. */
#include "app/app.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

static const int caught[] = { SIGINT, SIGTERM, SIGHUP, SIGWINCH };
static volatile sig_atomic_t stop_asked; /* a handler has no other way to tell */

static void on_signal(int sig)
{
	if (sig == SIGWINCH)
		return;
	if (stop_asked)
		_exit(EXIT_EARLY);
	stop_asked = 1;
}

/* Those above, without what nohup or a shell made ignored on purpose. */
static sigset_t wanted(void)
{
	struct sigaction old;
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT_OF(caught); i++)
		if (sigaction(caught[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
			sigaddset(&set, caught[i]);
	return set;
}

void signals_catch(bool hold)
{
	sigset_t set = wanted();
	struct sigaction act = { .sa_handler = on_signal, .sa_mask = set };

	if (hold)
		sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t i = 0; i < COUNT_OF(caught); i++)
		if (sigismember(&set, caught[i]))
			sigaction(caught[i], &act, NULL);
	act.sa_handler = SIG_IGN;
	sigaction(SIGPIPE, &act, NULL);
}

int signals_open(void)
{
	sigset_t set = wanted();

	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

bool signals_read(int fd)
{
	struct signalfd_siginfo info;
	bool resized = false;

	while (read(fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		resized = resized || info.ssi_signo == SIGWINCH;
		if (info.ssi_signo != SIGWINCH)
			stop_asked = 1;
	}
	return resized;
}

bool signals_stop(void) { return stop_asked != 0; }

void signals_release(void)
{
	sigset_t set = wanted();

	/* Asked once or not, from here a signal means: leave now. */
	stop_asked = 1;
	sigprocmask(SIG_UNBLOCK, &set, NULL);
}
