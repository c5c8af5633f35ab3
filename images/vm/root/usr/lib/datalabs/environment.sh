# Reads NAME=value lines as they are: a value is never expanded.
if [ -r /run/datalabs/environment ]; then
  while IFS= read -r line; do
    export "$line"
  done </run/datalabs/environment
  unset line
fi
