#!/usr/bin/env bash
# What table1.sh, table2.sh, table3.sh and all.sh share: scripts/tables.sh 1|2|3|all [flags of run.py]
#
# Scores what the table needs, with one call of run.py a dataset and backbone; which calls these are, tables.py reads from
# reports/tables/paper/tables.csv. What is complete is not scored again, what is partial is continued, and what cannot be had (weights, a
# dataset) is passed by and named at the end. Then prints the table beside the published numbers: stdout has nothing else.
#
#   flags of run.py            are passed on: --data-root DIR --weights-dir DIR --device cuda --limit 100 -sdir DIR ...
#   METHODS="dinov1 psnr"      only these rows
#   PYTHON=python3.12          the interpreter (default: python)
#   IQA_DATA=DIR               as for run.py: where the datasets are
#   VERIFY=N                   all.sh at its end scores N pairs of each score file again and compares (default: 2; 0: none)
#
# Exit code 0 if all was scored, 1 if something is missing or differs, 2 for wrong usage, 128 + signal when stopped.
set -u
home=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || exit 1
python=${PYTHON:-python}
which=${1:?expected 1, 2, 3 or all}
shift

savedir=results   # where run.py will write: the last -sdir among its flags
previous=
for argument in "$@"; do
    case $previous in -sdir | --savedir) savedir=$argument ;; esac
    case $argument in --savedir=*) savedir=${argument#*=} ;; esac
    previous=$argument
done

# METHODS is a list of words, so it stands without quotes
calls=$("$python" "$home/tables.py" --table "$which" --commands ${METHODS:+--only $METHODS}) || exit

missing=
while read -ra call; do
    echo "run.py ${call[*]} --keep-going $*" >&2
    printed=$("$python" "$home/run.py" "${call[@]}" --keep-going "$@" < /dev/null)
    code=$?
    printf '%s\n\n' "$printed" >&2
    [ $code -eq 2 ] || [ $code -gt 128 ] && exit $code   # the flags are wrong, and would be for the next call; or Ctrl-C
    [ $code -eq 0 ] || missing+=$(grep '^missing: ' <<< "$printed" || echo "missing: run.py ${call[*]} failed (exit code $code)")$'\n'
done <<< "$calls"

[ -d "$savedir" ] || savedir=   # nothing was scored
"$python" "$home/tables.py" --table "$which" ${METHODS:+--only $METHODS} ${savedir:+--scores "$savedir"} || exit
code=0
if [ "$which" = all ] && [ "${VERIFY:-2}" != 0 ] && compgen -G "${savedir:-.}/*_*.csv" > /dev/null; then
    said=$("$python" "$home/run.py" --verify "${VERIFY:-2}" "$savedir"/*_*.csv "$@" < /dev/null) || code=1
    printf '\n%s of %s score files verified: %s pairs of each scored again, and they agree\n' "$(grep -c ': agrees, ' <<< "$said")" \
        "$(grep -c . <<< "$said")" "${VERIFY:-2}" >&2
    grep -v ': agrees, ' <<< "$said" >&2
fi
[ -z "$missing" ] && exit $code
printf '\nnot everything could be scored:\n%s\n' "$(awk '!seen[$0]++ && NF' <<< "$missing")" >&2
exit 1
