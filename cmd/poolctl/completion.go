package main

import "github.com/urfave/cli/v2"

// The scripts call the program itself with completionFlag as the last word; it
// then prints the words that can follow, a line each.
const bashCompletion = `# bash completion for poolctl
_poolctl() {
	local cur=${COMP_WORDS[COMP_CWORD]} words
	local -a line=("${COMP_WORDS[@]:0:COMP_CWORD}")
	[[ $cur == -* ]] && line+=("$cur")
	words=$("${line[@]}" --generate-bash-completion 2>/dev/null)
	mapfile -t COMPREPLY < <(compgen -W "$words" -- "$cur")
}
complete -o bashdefault -o default -F _poolctl poolctl
`

const zshCompletion = `#compdef poolctl
_poolctl() {
	local cur=${words[CURRENT]}
	local -a line found
	line=("${(@)words[1,CURRENT-1]}")
	[[ $cur == -* ]] && line+=("$cur")
	found=("${(@f)$("${line[@]}" --generate-bash-completion 2>/dev/null)}")
	if [[ -n ${found[1]} ]]; then compadd -a found; else _files; fi
}
if [[ $funcstack[1] == _poolctl ]]; then _poolctl "$@"; else compdef _poolctl poolctl; fi
`

func completionCommand(e *env) *cli.Command {
	return &cli.Command{
		Name: "completion", Category: catSetup, Usage: "print the script that lets a shell complete commands", ArgsUsage: "bash|zsh|fish",
		Description: example("", "poolctl completion bash > /etc/bash_completion.d/poolctl"),
		Action: func(c *cli.Context) error {
			if err := checkCount(c, 1, 1); err != nil {
				return err
			}
			switch shell := c.Args().First(); shell {
			case "bash":
				return e.printf("%s", bashCompletion)
			case "zsh":
				return e.printf("%s", zshCompletion)
			case "fish":
				script, err := wholeApp(e).ToFishCompletion()
				if err != nil {
					return err
				}
				return e.printf("%s", script)
			default:
				return usagef(c, "unknown shell %q: not one of bash, zsh, fish", shell)
			}
		},
	}
}
