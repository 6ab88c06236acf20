# syntax=docker/dockerfile:1
# Fairway's image, for those who have Docker:
#
#   docker buildx build --platform linux/amd64,linux/arm64 --build-arg VERSION=v0.1.0 -t ghcr.io/fairway-ai/fairway:v0.1.0 .
#
# `go run ./hack/image` makes the same one without.
FROM --platform=$BUILDPLATFORM golang:1.26.8-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=dev
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    mkdir /out && CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=auto -ldflags "-s -w -X main.version=$VERSION" -o /out/fairway ./cmd/fairway && \
    ln -s fairway /out/epp && ln -s fairway /out/lwepp

# Certificate authorities, time zones, a user who is not root, and nothing to run.
FROM gcr.io/distroless/static-debian12:nonroot
LABEL org.opencontainers.image.title=Fairway \
      org.opencontainers.image.licenses=Apache-2.0 \
      org.opencontainers.image.source=https://github.com/fairway-ai/fairway
# Other pickers' manifests call theirs /epp or /lwepp.
COPY --from=build /out/ /
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/fairway"]
