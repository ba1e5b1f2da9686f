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

// serveCatalog builds the catalog from texts in place of programs, and serves it.
func serveCatalog(t *testing.T) *httptest.Server {
	t.Helper()
	dir := t.TempDir()
	program := func(name string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte("program "+name), 0o600))
		return path
	}
	p := programs{busybox: program("busybox"), standin: program("standin"), argoexec: program("argoexec")}
	out := filepath.Join(dir, "images")
	for range 2 { // the second time it replaces what is there
		require.NoError(t, build(catalog(p), p.busybox, []string{"sh", "echo"}, out))
	}
	handler, err := newRegistry(out, log.New(io.Discard, "", 0))
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server
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
	}{
		"busybox":  {"docker.io", "library/busybox:latest", nil, map[string]string{"bin/busybox": "program busybox", "bin/sh": "-> busybox"}},
		"whalesay": {"docker.io", "docker/whalesay:latest", nil, map[string]string{"usr/local/bin/cowsay": "program standin", "bin/sh": "-> busybox"}},
		"argosay":  {"docker.io", "argoproj/argosay:v2", []string{"/argosay"}, map[string]string{"argosay": "program standin", "bin/sh": "-> busybox"}},
		"argoexec": {"quay.io", "argoproj/argoexec:v3.7.18", []string{"argoexec"}, map[string]string{"bin/argoexec": "program argoexec"}},
		"pause":    {"registry.k8s.io", "pause:3.10", []string{"/pause"}, map[string]string{"pause": "program standin"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			image, err := pullFrom(server, c.registry, c.reference)
			require.NoError(t, err)
			config, err := image.ConfigFile()
			require.NoError(t, err)
			require.Equal(t, "linux", config.OS)
			require.Equal(t, c.entrypoint, config.Config.Entrypoint)
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
	} {
		answer, err := http.Get(server.URL + path + "?ns=" + registry)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		require.NoError(t, answer.Body.Close())
		require.Equal(t, http.StatusNotFound, answer.StatusCode, path)
		if strings.Contains(path, "manifests") {
			require.Contains(t, string(body), "no stand-in for "+registry+"/library/")
		}
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
