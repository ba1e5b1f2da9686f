package main

import (
	"fmt"
	"log"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/spf13/cobra"
)

func newServeCommand() *cobra.Command {
	var dir, listen string
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serves the images from a folder that build filled, until it is killed",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			logger := log.New(command.ErrOrStderr(), "", log.LstdFlags)
			handler, err := newRegistry(dir, logger)
			if err != nil {
				return err
			}
			server := &http.Server{Addr: listen, Handler: handler, ErrorLog: logger, ReadHeaderTimeout: time.Minute}
			return server.ListenAndServe()
		},
	}
	command.Flags().StringVar(&dir, "dir", "", "the folder")
	command.Flags().StringVar(&listen, "listen", "127.0.0.1:5000", "the address")
	_ = command.MarkFlagRequired("dir") // fails for a flag that does not exist
	return command
}

// newRegistry returns a registry with the images that the OCI layout in dir holds at the time of a request. It is a
// mirror as containerd understands it: one for all registries, with the one that is meant in the parameter "ns".
func newRegistry(dir string, logger *log.Logger) (http.Handler, error) {
	m := &mirror{dir: layout.Path(dir), log: logger}
	if _, err := m.images(); err != nil {
		return nil, err
	}
	return m, nil
}

// mirror answers what a client asks of any registry with the images of one folder.
type mirror struct {
	dir layout.Path
	log *log.Logger
}

// images returns the images in the folder by their repository.
func (m *mirror) images() (map[string]v1.Descriptor, error) {
	index, err := m.dir.ImageIndex()
	if err != nil {
		return nil, fmt.Errorf("reading the images in %s: %w", m.dir, err)
	}
	list, err := index.IndexManifest()
	if err != nil {
		return nil, fmt.Errorf("reading the images in %s: %w", m.dir, err)
	}
	images := map[string]v1.Descriptor{}
	for _, entry := range list.Manifests {
		images[entry.Annotations[refName]] = entry
	}
	return images, nil
}

// pull is the path of a request for a manifest or a blob: repository, kind, tag or digest.
var pull = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "the images of a lab are read-only", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.Path == "/v2/" {
		return // the client asks whether this is a registry
	}
	parts := pull.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		http.NotFound(w, r)
		return
	}
	host := r.URL.Query().Get("ns")
	if host == "" {
		host = "docker.io"
	}
	images, err := m.images()
	if err != nil {
		m.log.Print(err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	repository := host + "/" + parts[1]
	image, known := images[repository]
	if !known {
		m.log.Printf("there is no image %s", repository)
		http.Error(w, "this lab reaches no registry and has no image "+repository, http.StatusNotFound)
		return
	}
	digest, mediaType := parts[3], string(image.MediaType)
	if parts[2] == "blobs" {
		mediaType = "application/octet-stream"
	} else if !strings.Contains(digest, ":") { // a tag
		digest = image.Digest.String()
	}
	m.serveBlob(w, r, digest, mediaType)
}

// serveBlob answers with the manifest, configuration or layer that has the digest.
func (m *mirror) serveBlob(w http.ResponseWriter, r *http.Request, digest, mediaType string) {
	hash, err := v1.NewHash(digest)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	w.Header().Set("Docker-Content-Digest", digest)
	http.ServeFile(w, r, filepath.Join(string(m.dir), "blobs", hash.Algorithm, hash.Hex))
}
