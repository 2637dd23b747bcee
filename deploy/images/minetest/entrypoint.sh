#!/bin/bash
# Entrypoint as images for game panels have it: the panel hands the command line over in STARTUP, with {{NAME}} where an
# environment variable belongs; fill them in, show the result on the console, become the game.
#
# The game must be process 1: signals go there, and its exit code is the container's.
set -u
cd /home/container || exit 1

command=${STARTUP:?the panel sets STARTUP}
while [[ $command =~ \{\{([A-Za-z_][A-Za-z0-9_]*)\}\} ]]; do
  name=${BASH_REMATCH[1]}
  command=${command//"{{$name}}"/${!name-}}
done

printf ':%s$ %s\n' "$PWD" "$command"
# The command line may quote its arguments and be a list of commands, so a shell must read it. It does not stay in
# between: bash replaces itself with the last command it was given.
exec /bin/bash -c "$command"
