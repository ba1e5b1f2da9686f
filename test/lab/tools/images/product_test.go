package main

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/require"
)

var testRelease = release{version: "1.2.3", revision: "abcdef", created: time.Unix(1700000000, 0).UTC()}

// runArchive runs the command archive with a text in place of the program.
func runArchive(t *testing.T, out string, args ...string) error {
	t.Helper()
	command := newArchiveCommand()
	command.SilenceErrors, command.SilenceUsage = true, true
	command.SetArgs(append([]string{
		"--argo-multicluster=" + newPrograms(t).argoMulticluster, "--architecture=arm64", "--out=" + out,
		"--version=1.2.3", "--revision=abcdef", "--created=1700000000",
	}, args...))
	return command.Execute()
}

func TestTheArchiveHoldsTheProduct(t *testing.T) {
	out := filepath.Join(t.TempDir(), "image.tar")
	require.NoError(t, runArchive(t, out))

	tag, err := name.NewTag("quay.io/open-cluster-management/argo-multicluster:1.2.3")
	require.NoError(t, err)
	image, err := tarball.ImageFromPath(out, &tag)
	require.NoError(t, err, "the archive says what the image is called")
	config, err := image.ConfigFile()
	require.NoError(t, err)
	require.Equal(t, "linux/arm64", config.Platform().String())
	require.Equal(t, testRelease.created, config.Created.UTC())
	require.Equal(t, []string{"/argo-multicluster"}, config.Config.Entrypoint)
	require.Equal(t, "65532:65532", config.Config.User)
	require.Equal(t, "1.2.3", config.Config.Labels["org.opencontainers.image.version"])
	require.Equal(t, "abcdef", config.Config.Labels["org.opencontainers.image.revision"])
	require.Equal(t, "Apache-2.0", config.Config.Labels["org.opencontainers.image.licenses"])

	files := unpack(t, image)
	require.Len(t, files, 2)
	require.Equal(t, "program argo-multicluster", files["argo-multicluster"])
	require.True(t, x509.NewCertPool().AppendCertsFromPEM([]byte(files["etc/ssl/certs/ca-certificates.crt"])))
}

func TestTheSameProgramMakesTheSameArchive(t *testing.T) {
	var archives [2][]byte
	for i := range archives {
		out := filepath.Join(t.TempDir(), "image.tar")
		require.NoError(t, runArchive(t, out))
		var err error
		archives[i], err = os.ReadFile(out)
		require.NoError(t, err)
	}
	require.Equal(t, archives[0], archives[1])
}

func TestAnArchiveNeedsAVersionThatIsATag(t *testing.T) {
	err := runArchive(t, filepath.Join(t.TempDir(), "image.tar"), "--version=1.2.3+dirty")
	require.ErrorContains(t, err, "1.2.3+dirty")
}

func TestTheDockerfileMakesTheSameImage(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("..", "..", "..", "..", "Dockerfile"))
	require.NoError(t, err)
	_, final, found := strings.Cut(string(raw), "\nFROM scratch\n")
	require.True(t, found, "the last stage is built from scratch")
	labels := map[string]string{}
	for _, match := range regexp.MustCompile(`(org\.opencontainers\.image\.\w+)="([^"]*)"`).FindAllStringSubmatch(final, -1) {
		labels[match[1]] = match[2]
	}
	product := productImage("", release{version: "$VERSION", revision: "$REVISION"})
	require.Equal(t, product.config.Labels, labels)
	require.Contains(t, final, "\nUSER "+product.config.User+"\n")
	require.Contains(t, final, fmt.Sprintf("\nENTRYPOINT [%q]\n", product.config.Entrypoint[0]))
	require.Equal(t, v1.Config{Entrypoint: product.config.Entrypoint, User: product.config.User, Labels: product.config.Labels},
		product.config, "the Dockerfile has everything else, too")
	for path := range product.files {
		require.Contains(t, final, " /"+path+"\n")
	}
	for path := range product.texts {
		require.Contains(t, final, " /"+path+"\n")
	}
}
