// docker buildx bake -f images/docker-bake.hcl         every image, CPU
// docker buildx bake -f images/docker-bake.hcl gpu     the stages that use a GPU, tagged <TAG>-gpu
variable "REGISTRY" { default = "magicapture" }
variable "TAG" { default = "0.1.0" }
// Commit the code is from: lineage tags name it (`COMMIT=$(git rev-parse HEAD)`).
variable "COMMIT" { default = "unknown" }

group "default" { targets = ["preprocess", "training", "generation", "postprocessing", "evaluation", "registry"] }
group "gpu" { targets = ["training-gpu", "generation-gpu"] }

target "stage" {
  matrix     = { name = ["preprocess", "training", "generation", "postprocessing", "evaluation", "registry"] }
  name       = name
  context    = "."
  dockerfile = "images/Dockerfile"
  target     = name
  tags       = ["${REGISTRY}/${name}:${TAG}"]
  args       = { COMMIT = COMMIT }
}

target "stage-gpu" {
  matrix     = { name = ["training", "generation"] }
  name       = "${name}-gpu"
  context    = "."
  dockerfile = "images/Dockerfile"
  target     = name
  tags       = ["${REGISTRY}/${name}:${TAG}-gpu"]
  args = {
    COMMIT      = COMMIT
    LOCK        = "images/requirements-gpu.lock"
    RUNTIME     = "onnxruntime-gpu"
  }
}
