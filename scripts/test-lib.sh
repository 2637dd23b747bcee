# shellcheck shell=bash
# What test-docker.sh and test-kubernetes.sh share: engines and clusters with images in them, and what the tests are told
# about them. Whoever selects tests selects among those of the whole workspace: with -p, cargo unifies the features of
# fewer crates and compiles every dependency a second time. Sourced after lib.sh and kube-lib.sh with the checkout as working directory, never run.
# shellcheck disable=SC2154 # variables of kube-lib.sh

# Short, because of the sockets below it; one per checkout, so that a run after a killed one finds what that one left.
engines=/tmp/bp-docker-$kube_checkout

# What a run brings up it takes down, however it ends; unless BADGER_TEST_KEEP says that another run follows at once.
end_unless_kept() { [ -n "${BADGER_TEST_KEEP:-}" ] || "$@"; }
engines_down() { scripts/docker-down.sh "$engines"; }
clusters_down() { scripts/kube-down.sh; }

# Two engines with the real game server's image, and the variables for tests named docker.
engines_up() {
  local hosts minetest
  hosts=$(scripts/docker-up.sh "$engines" 2)
  # shellcheck disable=SC2086 # one host a word
  minetest=$(scripts/image-minetest.sh $hosts)
  read -r BADGER_TEST_IMAGE minetest_archive <<<"$minetest"
  BADGER_TEST_DOCKER_HOSTS=$(tr '\n' ' ' <<<"$hosts")
  # The last two are for tests that need only one.
  export BADGER_TEST_IMAGE BADGER_TEST_DOCKER_HOSTS BADGER_TEST_DOCKER=1 DOCKER_HOST=${BADGER_TEST_DOCKER_HOSTS%% *}
}

# Our images, built before anything is up: what does not compile should cost nobody a cluster. A benchmark wants them
# optimised (BADGER_IMAGE_PROFILE=release).
images_of_ours() {
  local profile=${BADGER_IMAGE_PROFILE:-dev}
  BADGER_TEST_BADGER_IMAGE=$(scripts/image-badger.sh --profile "$profile" "$1/badger.tar")
  BADGER_TEST_LEDGER_IMAGE=$(scripts/image-ledger.sh --profile "$profile" "$1/ledger.tar")
  export BADGER_TEST_BADGER_IMAGE BADGER_TEST_LEDGER_IMAGE
}

# Two clusters with all the images, engines with the sample game's, and the variables for tests named kubernetes.
# After engines_up and images_of_ours.
clusters_up() {
  local host tools
  tools=$(scripts/kube-tools.sh helm)
  scripts/kube-up.sh >/dev/null
  scripts/kube-load.sh "$1/badger.tar" "$1/ledger.tar" "$minetest_archive"
  for host in $BADGER_TEST_DOCKER_HOSTS; do docker -H "$host" load -q -i "$1/ledger.tar" >&2; done
  export BADGER_TEST_KUBE_A=$kube_state/a/admin.kubeconfig BADGER_TEST_KUBE_B=$kube_state/b/admin.kubeconfig
  export BADGER_TEST_KUBE_STATE=$kube_state BADGER_TEST_KUBE_HOST=$kube_host
  export BADGER_TEST_KUBECTL=$kube_state/tools/kubectl BADGER_TEST_HELM=$tools/helm BADGER_TEST_MINETEST_IMAGE=$BADGER_TEST_IMAGE
}
