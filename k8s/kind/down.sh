#!/usr/bin/env bash
# Keep the logs, then delete the cluster that up.sh made, with everything in it.
set -o errexit -o nounset -o pipefail

# Settings, each of which the environment can change.
readonly CLUSTER=${CLUSTER:-lossmap}   # kind's name of the cluster
readonly LOGS=${LOGS:-build/kind-logs} # where the logs go; empty: nowhere

cd "$(dirname "$0")/../.."

command -v kind >/dev/null || { echo 'down.sh: kind is missing: install it from https://kind.sigs.k8s.io/docs/user/quick-start' >&2; exit 2; }
if ! kind get clusters 2>/dev/null | grep -qx "$CLUSTER"; then
    echo "there is no cluster $CLUSTER"
    exit 0
fi
if [ -n "$LOGS" ]; then
    mkdir -p "$LOGS"
    kind export logs "$LOGS" --name "$CLUSTER" || echo "down.sh: not all logs could be kept in $LOGS" >&2
fi
kind delete cluster --name "$CLUSTER"
