# The image of both sides: the manager on the hub and the agent on a managed cluster.
# make image builds it, make image-archive does so without Docker.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG TARGETOS TARGETARCH VERSION=devel
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
	make binary && mv _output/argo-multicluster-* /argo-multicluster

FROM scratch
ARG VERSION=devel REVISION
LABEL org.opencontainers.image.title="argo-multicluster" \
	org.opencontainers.image.description="Run Argo Workflows created on an Open Cluster Management hub on its managed clusters" \
	org.opencontainers.image.source="https://github.com/open-cluster-management-io/argo-workflow-multicluster" \
	org.opencontainers.image.licenses="Apache-2.0" \
	org.opencontainers.image.vendor="Open Cluster Management" \
	org.opencontainers.image.version="$VERSION" \
	org.opencontainers.image.revision="$REVISION"
# A hub's API server may have a public certificate.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /argo-multicluster /argo-multicluster
USER 65532:65532
ENTRYPOINT ["/argo-multicluster"]
