#!/usr/bin/env bash
# Bring up kind, Kubeflow Pipelines, an operator for trainings and lossmap. Safe to repeat: what is there is kept and brought up to date.
set -o errexit -o nounset -o pipefail

# Settings, each of which the environment can change.
readonly CLUSTER=${CLUSTER:-lossmap}                     # kind's name of the cluster
readonly IMAGE=${IMAGE:-docker.io/lossmap/lossmap:dev}   # as in overlays/kind
readonly TORCH=${TORCH-cpu}                              # PyTorch's build in the image, see image/Dockerfile; empty: the package index's
readonly TRAINER=${TRAINER:-pytorchjob}                  # what trains: pytorchjob (training operator) or trainjob (Kubeflow Trainer)
readonly TIMEOUT=${TIMEOUT:-900}                         # seconds to wait for each part to be ready
readonly NAMESPACES="kubeflow lossmap"

cd "$(dirname "$0")/../.."

need() { # need PROGRAM CURE
    command -v "$1" >/dev/null || { echo "up.sh: $1 is missing: $2" >&2; exit 2; }
}

say() {
    printf '\n== %s\n' "$*"
}

cluster() {
    kubectl --context "kind-$CLUSTER" "$@"
}

secret() { # keys that are made once, and are the same in both namespaces
    local access secret namespace
    if access=$(cluster -n lossmap get secret lossmap-object-store -o 'jsonpath={.data.AWS_ACCESS_KEY_ID}' 2>/dev/null); then
        access=$(base64 -d <<<"$access")
        secret=$(cluster -n lossmap get secret lossmap-object-store -o 'jsonpath={.data.AWS_SECRET_ACCESS_KEY}' | base64 -d)
    else
        access=lossmap-$(random 8)
        secret=$(random 32)
    fi
    for namespace in $NAMESPACES; do # by standard input: an argument could be read by every user of this machine
        printf 'AWS_ACCESS_KEY_ID=%s\nAWS_SECRET_ACCESS_KEY=%s\n' "$access" "$secret" |
            cluster -n "$namespace" create secret generic lossmap-object-store --from-env-file=/dev/stdin --dry-run=client -o yaml |
            cluster apply -f -
    done
}

random() { # random BYTES: as many, in hexadecimal digits
    od -An -N"$1" -tx1 /dev/urandom | tr -d ' \n'
}

ready() { # ready NAMESPACE: wait until everything in it runs
    cluster -n "$1" wait --for=condition=Available deployment --all --timeout="${TIMEOUT}s" || {
        cluster -n "$1" get pods >&2
        cluster -n "$1" get events --sort-by=.lastTimestamp >&2 | tail -20
        echo "up.sh: the namespace $1 is not ready after $TIMEOUT s; repeat up.sh once the cause is gone" >&2
        exit 1
    }
}

case $TRAINER in
    pytorchjob) readonly OPERATOR=training-operator OVERLAY=kind ;;
    trainjob) readonly OPERATOR=trainer OVERLAY=kind-trainer ;;
    *) echo "up.sh: TRAINER is $TRAINER, expected pytorchjob or trainjob" >&2; exit 2 ;;
esac
need docker 'install it from https://docs.docker.com/engine/install'
need kind 'install it from https://kind.sigs.k8s.io/docs/user/quick-start'
need kubectl 'install it from https://kubernetes.io/docs/tasks/tools'
need git 'install it from https://git-scm.com/downloads' # kubectl fetches the pinned manifests with it
docker info >/dev/null 2>&1 || { echo 'up.sh: docker does not answer: start it, or become a member of its group' >&2; exit 2; }

say "the cluster $CLUSTER"
kind get clusters 2>/dev/null | grep -qx "$CLUSTER" || kind create cluster --name "$CLUSTER" --config k8s/kind/cluster.yaml

say "the image $IMAGE"
docker build --file k8s/image/Dockerfile --build-arg "TORCH=$TORCH" --tag "$IMAGE" .
kind load docker-image "$IMAGE" --name "$CLUSTER"

say "Kubeflow Pipelines and what runs a $TRAINER"
cluster apply --server-side --force-conflicts -k k8s/third-party/pipelines-cluster
cluster wait --for=condition=Established crd --all --timeout="${TIMEOUT}s"
cluster apply --server-side --force-conflicts -k "k8s/third-party/$OPERATOR"
cluster apply --server-side --force-conflicts -k k8s/third-party/pipelines
[ "$TRAINER" = pytorchjob ] || ready kubeflow-system # Trainer is asked whether our runtime is one

say lossmap
cluster apply --server-side -f k8s/mlflow/namespace.yaml
secret
cluster apply --server-side -k "k8s/overlays/$OVERLAY"
cluster -n lossmap rollout restart deployment/mlflow # an image of the same name may have changed
ready lossmap
ready kubeflow

cat <<END

Ready. lossmap speaks to the cluster of the current context:
  kubectl config use-context kind-$CLUSTER
  lossmap doctor --cluster
  lossmap submit digits-resnet20 --follow
  lossmap ui --cluster                                                     # MLflow
  kubectl -n kubeflow port-forward service/ml-pipeline-ui 8080:80          # Kubeflow's pages, at http://localhost:8080
k8s/kind/down.sh takes it all down.
END
