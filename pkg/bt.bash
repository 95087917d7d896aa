# SPDX-License-Identifier: MIT
# Completion for bash: commands, then options as `bt help COMMAND` prints them, then files.
_bt() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} cmd=${COMP_WORDS[1]}
	if ((COMP_CWORD == 1)) || [[ $cmd == help ]]; then
		mapfile -t COMPREPLY < <(compgen -W 'get seed create show verify bench help version' -- "$cur")
		((COMP_CWORD > 1)) || mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -X '!*.torrent' -- "$cur")
		return
	fi
	case $prev in
	-d | --dir | --state) mapfile -t COMPREPLY < <(compgen -d -- "$cur") ;;
	--storage) mapfile -t COMPREPLY < <(compgen -W 'auto map pool' -- "$cur") ;;
	--alloc) mapfile -t COMPREPLY < <(compgen -W 'auto sparse full' -- "$cur") ;;
	*)
		if [[ $cur == -* ]]; then
			mapfile -t COMPREPLY < <(compgen -W "$(bt help "$cmd" 2>/dev/null | grep -oE -- '^ +(-., )?--[a-z-]+' |
				grep -oE -- '--[a-z-]+') --help" -- "$cur")
		else
			mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		fi
		;;
	esac
}
complete -o filenames -F _bt bt
