package main

import (
	"archive/tar"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/stretchr/testify/require"
)

// newPrograms returns texts in a new folder in place of all programs.
func newPrograms(t *testing.T) programs {
	t.Helper()
	dir := t.TempDir()
	program := func(name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("program "+name), 0o600))
		return path
	}
	return programs{
		busybox:            program("busybox"),
		standin:            program("standin"),
		argoexec:           program("argoexec"),
		argoMulticluster:   program("argo-multicluster"),
		workflowController: program("workflow-controller"),
	}
}

// buildCatalog builds the catalog into the folder.
func buildCatalog(t *testing.T, p programs, out string) {
	t.Helper()
	require.NoError(t, build(catalog(p), p.busybox, []string{"sh", "echo"}, out))
}

// serve serves what was built into the folder.
func serve(t *testing.T, dir string) *httptest.Server {
	t.Helper()
	handler, err := newRegistry(dir, log.New(io.Discard, "", 0))
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
}

// serveCatalog builds and serves the catalog.
func serveCatalog(t *testing.T) *httptest.Server {
	t.Helper()
	out := t.TempDir()
	buildCatalog(t, newPrograms(t), out)
	return serve(t, out)
}

// pullFrom pulls as containerd does from a mirror: the registry that is meant is a parameter.
func pullFrom(server *httptest.Server, registry, reference string) (v1.Image, error) {
	ref, err := name.ParseReference(strings.TrimPrefix(server.URL, "http://") + "/" + reference)
	if err != nil {
		return nil, err
	}
	return remote.Image(ref, remote.WithTransport(forRegistry(registry)))
}

type forRegistry string

func (f forRegistry) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.URL.RawQuery = "ns=" + string(f)
	return http.DefaultTransport.RoundTrip(r)
}

func TestEveryTagOfAKnownRepositoryIsTheStandIn(t *testing.T) {
	server := serveCatalog(t)
	var digests []v1.Hash
	for _, reference := range []string{"library/alpine:latest", "library/alpine:3.7", "library/busybox:1"} {
		image, err := pullFrom(server, "docker.io", reference)
		require.NoError(t, err)
		digest, err := image.Digest()
		require.NoError(t, err)
		digests = append(digests, digest)
	}
	require.Equal(t, digests[0], digests[1])
	require.Equal(t, digests[0], digests[2])

	image, err := pullFrom(server, "docker.io", "library/alpine@"+digests[0].String())
	require.NoError(t, err, "a digest is a reference, too")
	require.NotNil(t, image)
}

func TestImagesHoldWhatTheirNamesPromise(t *testing.T) {
	server := serveCatalog(t)
	cases := map[string]struct {
		registry, reference string
		entrypoint          []string
		files               map[string]string
		user                string
	}{
		"busybox": {"docker.io", "library/busybox:latest", nil, map[string]string{"bin/busybox": "program busybox", "bin/sh": "-> busybox"}, ""},
		"whalesay": {"docker.io", "docker/whalesay:latest", nil, map[string]string{
			"usr/local/bin/cowsay": "program standin", "bin/sh": "-> busybox",
		}, ""},
		"argosay": {"docker.io", "argoproj/argosay:v2", []string{"/argosay"}, map[string]string{
			"argosay": "program standin", "bin/sh": "-> busybox",
		}, ""},
		"argoexec": {"quay.io", "argoproj/argoexec:v3.7.18", []string{"argoexec"}, map[string]string{"bin/argoexec": "program argoexec"}, ""},
		"pause":    {"registry.k8s.io", "pause:3.10", []string{"/pause"}, map[string]string{"pause": "program standin"}, ""},
		"controller": {
			"quay.io", "argoproj/workflow-controller:v3.7.18",
			[]string{"workflow-controller"}, map[string]string{"bin/workflow-controller": "program workflow-controller"}, "8737",
		},
		"product": {
			"quay.io", "open-cluster-management/argo-multicluster:0.1.0",
			[]string{"/argo-multicluster"}, map[string]string{"argo-multicluster": "program argo-multicluster"}, "65532:65532",
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			image, err := pullFrom(server, c.registry, c.reference)
			require.NoError(t, err)
			config, err := image.ConfigFile()
			require.NoError(t, err)
			require.Equal(t, "linux", config.OS)
			require.Equal(t, c.entrypoint, config.Config.Entrypoint)
			require.Equal(t, c.user, config.Config.User)
			require.Contains(t, config.Config.Env, "PATH="+searchPath)
			files := unpack(t, image)
			for path, content := range c.files {
				require.Equal(t, content, files[path], path)
			}
		})
	}
}

func TestWhatIsNotThereIsNotFound(t *testing.T) {
	server := serveCatalog(t)
	for registry, path := range map[string]string{
		"docker.io":       "/v2/library/python/manifests/alpine3.6",
		"ghcr.io":         "/v2/library/busybox/manifests/latest",
		"registry.k8s.io": "/v2/pause/blobs/sha256:" + strings.Repeat("0", 64),
		"quay.io":         "/v2/open-cluster-management/argo-multicluster-typo/manifests/0.1.0",
	} {
		answer, err := http.Get(server.URL + path + "?ns=" + registry)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusNotFound, answer.StatusCode, path)
		if strings.Contains(path, "manifests") {
			require.Contains(t, string(body), "no image "+registry+"/")
		}
	}
}

func TestImagesAreReplacedWhileTheyAreServed(t *testing.T) {
	p, out := newPrograms(t), t.TempDir()
	buildCatalog(t, p, out)
	server := serve(t, out)
	const reference = "open-cluster-management/argo-multicluster:0.1.0"
	before, err := pullFrom(server, "quay.io", reference)
	require.NoError(t, err)

	require.NoError(t, os.WriteFile(p.argoMulticluster, []byte("another program"), 0o600))
	buildCatalog(t, p, out)
	after, err := pullFrom(server, "quay.io", reference)
	require.NoError(t, err)
	require.Equal(t, "another program", unpack(t, after)["argo-multicluster"])
	require.Equal(t, "program argo-multicluster", unpack(t, before)["argo-multicluster"], "a pull that has begun ends well")
}

func TestImagesWithoutAProgramAreLeftOut(t *testing.T) {
	p, out := newPrograms(t), t.TempDir()
	p.argoMulticluster, p.workflowController = "", ""
	buildCatalog(t, p, out)
	server := serve(t, out)
	for _, reference := range []string{"open-cluster-management/argo-multicluster:0.1.0", "argoproj/workflow-controller:v3.7.18"} {
		_, err := pullFrom(server, "quay.io", reference)
		require.ErrorContains(t, err, "no image quay.io/")
	}
}

func TestTheRegistryIsReadOnly(t *testing.T) {
	server := serveCatalog(t)
	answer, err := http.Post(server.URL+"/v2/library/busybox/blobs/uploads/", "", nil)
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
}

// unpack returns the content of the image's files, and where its links lead.
func unpack(t *testing.T, image v1.Image) map[string]string {
	t.Helper()
	content := mutate.Extract(image)
	defer func() { require.NoError(t, content.Close()) }()
	files := map[string]string{}
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		require.NoError(t, err)
		text, err := io.ReadAll(archive)
		require.NoError(t, err)
		files[header.Name] = string(text)
		if header.Typeflag == tar.TypeSymlink {
			files[header.Name] = "-> " + header.Linkname
		}
	}
}
