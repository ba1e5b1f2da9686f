package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/spf13/cobra"
)

// onlyTag is the tag that a stand-in has within the registry, where all other tags lead to it.
const onlyTag = "latest"

func newServeCommand() *cobra.Command {
	var dir, listen string
	command := &cobra.Command{
		Use:   "serve",
		Short: "Serves the stand-ins from a folder that build filled, until it is killed",
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

// newRegistry returns a registry with the images of the OCI layout in dir. It is a mirror as containerd
// understands it: one for all registries, with the one that is meant in the parameter "ns".
func newRegistry(dir string, logger *log.Logger) (http.Handler, error) {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the images in %s: %w", dir, err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	backend := registry.New(
		registry.WithBlobHandler(registry.NewDiskBlobHandler(filepath.Join(dir, "blobs"))),
		registry.Logger(log.New(io.Discard, "", 0)),
	)
	known := map[string]bool{}
	for _, entry := range manifest.Manifests {
		repository := entry.Annotations[refName]
		if err := publish(backend, index, entry, repository); err != nil {
			return nil, fmt.Errorf("publishing %s: %w", repository, err)
		}
		known[repository] = true
	}
	return &mirror{backend: backend, known: known, log: logger}, nil
}

// publish gives the registry the manifest of an image, the blobs of which it finds by itself.
func publish(backend http.Handler, index v1.ImageIndex, entry v1.Descriptor, repository string) error {
	image, err := index.Image(entry.Digest)
	if err != nil {
		return err
	}
	raw, err := image.RawManifest()
	if err != nil {
		return err
	}
	request := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+onlyTag, bytes.NewReader(raw))
	request.Header.Set("Content-Type", string(entry.MediaType))
	answer := httptest.NewRecorder()
	backend.ServeHTTP(answer, request)
	if answer.Code != http.StatusCreated {
		return errors.New(answer.Body.String())
	}
	return nil
}

// mirror translates what a client asks of any registry into what the one behind it has.
type mirror struct {
	backend http.Handler
	known   map[string]bool
	log     *log.Logger
}

// pull is the path of a request for a manifest or a blob: repository, kind, tag or digest.
var pull = regexp.MustCompile(`^/v2/(.+)/(manifests|blobs)/([^/]+)$`)

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		http.Error(w, "the stand-ins of a lab are read-only", http.StatusMethodNotAllowed)
		return
	}
	parts := pull.FindStringSubmatch(r.URL.Path)
	if parts == nil {
		m.backend.ServeHTTP(w, r)
		return
	}
	host, reference := r.URL.Query().Get("ns"), parts[3]
	if host == "" {
		host = "docker.io"
	}
	repository := host + "/" + parts[1]
	if !m.known[repository] {
		m.log.Printf("there is no stand-in for %s", repository)
		http.Error(w, "this lab reaches no registry and has no stand-in for "+repository, http.StatusNotFound)
		return
	}
	if parts[2] == "manifests" && !strings.Contains(reference, ":") {
		reference = onlyTag
	}
	inner := r.Clone(r.Context())
	inner.URL.Path = strings.Join([]string{"/v2", repository, parts[2], reference}, "/")
	m.backend.ServeHTTP(w, inner)
}
