// docker buildx bake -f images/docker-bake.hcl         every image for the CPU, tagged <TAG>
// docker buildx bake -f images/docker-bake.hcl gpu     those of the stages that can use a GPU, tagged <TAG>-gpu
// docker buildx bake -f images/docker-bake.hcl sbom    all of them, pushed, each with its bill of materials and provenance:
//                                                      docker buildx imagetools inspect IMAGE --format '{{ json .SBOM }}'
variable "REGISTRY" { default = "magicapture" }
variable "TAG" { default = "0.1.0" }
// Commit the code is from (`COMMIT=$(git rev-parse HEAD)`): lineage tags name it.
variable "COMMIT" { default = "unknown" }
// Package index with torch's CPU build (PyTorch's own), which the common one lacks: pip's extra index for the CPU images. There is no
// default; without it the Dockerfile ends with a word on this.
variable "TORCH_CPU_INDEX" { default = "" }

group "default" { targets = ["cpu"] }

target "image" {
  context    = "."
  dockerfile = "images/Dockerfile"
  labels = {
    "org.opencontainers.image.licenses" = "Apache-2.0"
    "org.opencontainers.image.revision" = COMMIT
    "org.opencontainers.image.version"  = TAG
  }
}

target "cpu" {
  inherits = ["image"]
  matrix   = { stage = ["preprocess", "training", "generation", "postprocessing", "evaluation", "registry"] }
  name     = stage
  target   = stage
  tags     = ["${REGISTRY}/${stage}:${TAG}"]
  args     = { COMMIT = COMMIT, DEVICE = "cpu", PIP_EXTRA_INDEX_URL = TORCH_CPU_INDEX }
  labels   = { "org.opencontainers.image.title" = "MagiCapture ${stage}" }
}

target "gpu" {
  inherits = ["image"]
  matrix   = { stage = ["preprocess", "training", "generation", "postprocessing", "evaluation"] }
  name     = "${stage}-gpu"
  target   = stage
  tags     = ["${REGISTRY}/${stage}:${TAG}-gpu"]
  args     = { COMMIT = COMMIT, DEVICE = "gpu" }
  labels   = { "org.opencontainers.image.title" = "MagiCapture ${stage}, CUDA 13" }
}

target "sbom" {
  matrix = {
    image = [
      "preprocess", "training", "generation", "postprocessing", "evaluation", "registry",
      "preprocess-gpu", "training-gpu", "generation-gpu", "postprocessing-gpu", "evaluation-gpu",
    ]
  }
  inherits = [image]
  name     = "${image}-sbom"
  attest   = ["type=sbom", "type=provenance,mode=max"]
  output   = ["type=registry"]
}
