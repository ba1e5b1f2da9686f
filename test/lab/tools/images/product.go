package main

import (
	"encoding/pem"
	"fmt"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/spf13/cobra"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// productRepository is where the product's image is published.
const productRepository = "quay.io/open-cluster-management/argo-multicluster"

// release says which build of the product an image holds. What is empty is left out of the image's labels.
type release struct {
	version, revision string
	// created is the time of the commit, not of the build: the same commit makes the same image.
	created time.Time
}

// productImage is the product's image with the given program. The Dockerfile makes the same one.
func productImage(program string, r release) image {
	labels := map[string]string{
		"org.opencontainers.image.title":       "argo-multicluster",
		"org.opencontainers.image.description": "Run Argo Workflows created on an Open Cluster Management hub on its managed clusters",
		"org.opencontainers.image.source":      "https://github.com/open-cluster-management-io/argo-workflow-multicluster",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.vendor":      "Open Cluster Management",
	}
	for label, value := range map[string]string{
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.revision": r.revision,
	} {
		if value != "" {
			labels[label] = value
		}
	}
	return image{
		repositories: []string{productRepository},
		files:        map[string]string{"argo-multicluster": program},
		texts:        map[string][]byte{"etc/ssl/certs/ca-certificates.crt": rootCertificates()},
		created:      r.created,
		config:       v1.Config{Entrypoint: []string{"/argo-multicluster"}, User: "65532:65532", Labels: labels},
	}
}

// rootCertificates are the certificate authorities that Mozilla trusts, as a file: a hub's API server may have a public
// certificate.
func rootCertificates() []byte {
	var file []byte
	for root := range bundle.Roots() {
		file = append(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})...)
	}
	return file
}

func newArchiveCommand() *cobra.Command {
	var program, architecture, repository, out string
	var r release
	var created int64
	command := &cobra.Command{
		Use:   "archive",
		Short: "Writes the product's image to a file for docker load, ctr images import or kind load image-archive",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			r.created = time.Unix(created, 0).UTC()
			product := productImage(program, r)
			product.architecture, product.compressed = architecture, true
			return archive(product, repository+":"+r.version, out)
		},
	}
	flags := command.Flags()
	flags.StringVar(&program, "argo-multicluster", "", "the product's program, static, for Linux")
	flags.StringVar(&architecture, "architecture", "", "what processor the program is for: amd64, arm64")
	flags.StringVar(&repository, "repository", productRepository, "the image's name")
	flags.StringVar(&r.version, "version", "", "the version, which is also the image's tag")
	flags.StringVar(&r.revision, "revision", "", "the commit")
	flags.Int64Var(&created, "created", 0, "the commit's time, in seconds since 1970")
	flags.StringVar(&out, "out", "", "the file")
	for _, required := range []string{"argo-multicluster", "architecture", "version", "out"} {
		_ = command.MarkFlagRequired(required) // fails for a flag that does not exist
	}
	return command
}

// archive writes an image without userland to a file. The same image makes the same file.
func archive(i image, reference, out string) error {
	tag, err := name.NewTag(reference, name.StrictValidation)
	if err != nil {
		return err
	}
	built, err := i.build(nil)
	if err != nil {
		return fmt.Errorf("building %s: %w", reference, err)
	}
	return tarball.WriteToFile(out, tag, built)
}
