package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"
)

// refName is the annotation by which an OCI layout says what its images are called.
const refName = "org.opencontainers.image.ref.name"

func newBuildCommand() *cobra.Command {
	var p programs
	var out string
	command := &cobra.Command{
		Use:   "build",
		Short: "Builds the images into a folder, as an OCI image layout",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			applets, err := listApplets(p.busybox)
			if err != nil {
				return err
			}
			return build(catalog(p), p.busybox, applets, out)
		},
	}
	command.Flags().StringVar(&out, "out", "", "the folder; where it is served, the new images are from then on")
	command.Flags().StringVar(&p.busybox, "busybox", "/bin/busybox", "a static BusyBox")
	command.Flags().StringVar(&p.standin, "standin", "", "the program standin")
	command.Flags().StringVar(&p.argoexec, "argoexec", "", "Argo's program argoexec")
	command.Flags().StringVar(&p.workflowController, "workflow-controller", "", "Argo's program workflow-controller; without, it has no image")
	command.Flags().StringVar(&p.argoMulticluster, "argo-multicluster", "", "the product's program; without, it has no image")
	for _, name := range []string{"out", "standin", "argoexec"} {
		_ = command.MarkFlagRequired(name) // fails for a flag that does not exist
	}
	return command
}

// indexFile lists the images of an OCI layout.
const indexFile = "index.json"

// build writes the images to the folder out, as an OCI layout, and then lists them there in one step: whoever reads the
// folder at the same time finds the old images or the new ones. Old ones stay until the folder goes, for they may be
// being read.
func build(images []image, busybox string, applets []string, out string) error {
	userland, err := userlandLayer(busybox, applets)
	if err != nil {
		return fmt.Errorf("building the userland: %w", err)
	}
	folder, index := layout.Path(out), v1.ImageIndex(empty.Index)
	for _, i := range images {
		built, err := i.build(userland)
		if err != nil {
			return fmt.Errorf("building the image %s: %w", i.repositories[0], err)
		}
		if err := folder.WriteImage(built); err != nil {
			return err
		}
		for _, repository := range i.repositories {
			names := v1.Descriptor{Annotations: map[string]string{refName: repository}}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: built, Descriptor: names})
		}
	}
	list, err := index.RawManifest()
	if err != nil {
		return err
	}
	if err := folder.WriteFile("oci-layout", []byte(`{"imageLayoutVersion": "1.0.0"}`), 0o644); err != nil {
		return err
	}
	if err := folder.WriteFile(indexFile+".new", list, 0o644); err != nil {
		return err
	}
	return os.Rename(filepath.Join(out, indexFile+".new"), filepath.Join(out, indexFile))
}

// build makes the image from its layers.
func (i image) build(userland v1.Layer) (v1.Image, error) {
	var layers []v1.Layer
	if i.userland {
		layers = append(layers, userland)
	}
	if len(i.files) > 0 {
		layer, err := i.filesLayer()
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	if i.compressed {
		for n, layer := range layers {
			var err error
			if layers[n], err = tarball.LayerFromOpener(layer.Uncompressed); err != nil {
				return nil, err
			}
		}
	}
	image, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), layers...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created, file.Config = "linux", i.architecture, v1.Time{Time: i.created}, i.config
	file.Config.Env = []string{"PATH=" + searchPath}
	return mutate.ConfigFile(image, file)
}

// userlandLayer makes the layer with BusyBox and what belongs to a userland besides.
func userlandLayer(busybox string, applets []string) (v1.Layer, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	return newLayer(func(w *tar.Writer) error {
		for _, folder := range userlandFolders {
			header := &tar.Header{Typeflag: tar.TypeDir, Name: folder + "/", Mode: mode(folder)}
			if err := w.WriteHeader(header); err != nil {
				return err
			}
		}
		if err := writeFile(w, "bin/busybox", program, 0o755); err != nil {
			return err
		}
		for _, applet := range applets {
			if err := writeLink(w, "bin/"+applet, "busybox"); err != nil {
				return err
			}
		}
		// Scripts name it by this path.
		if err := writeLink(w, "usr/bin/env", "/bin/busybox"); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(userlandFiles)) {
			if err := writeFile(w, name, []byte(userlandFiles[name]), 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// filesLayer makes a layer of the image's own programs and texts.
func (i image) filesLayer() (v1.Layer, error) {
	return newLayer(func(w *tar.Writer) error {
		for _, name := range slices.Sorted(maps.Keys(i.files)) {
			program, err := os.ReadFile(i.files[name])
			if err != nil {
				return err
			}
			if err := writeFile(w, name, program, 0o755); err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(i.texts)) {
			if err := writeFile(w, name, i.texts[name], 0o644); err != nil {
				return err
			}
		}
		return nil
	})
}

// newLayer makes a layer of what fill writes.
func newLayer(fill func(*tar.Writer) error) (v1.Layer, error) {
	var content bytes.Buffer
	w := tar.NewWriter(&content)
	if err := fill(w); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return static.NewLayer(content.Bytes(), types.OCIUncompressedLayer), nil
}

func writeFile(w *tar.Writer, name string, content []byte, mode int64) error {
	header := &tar.Header{Typeflag: tar.TypeReg, Name: path.Clean(name), Mode: mode, Size: int64(len(content))}
	if err := w.WriteHeader(header); err != nil {
		return err
	}
	_, err := w.Write(content)
	return err
}

func writeLink(w *tar.Writer, name, target string) error {
	return w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
}

// listApplets asks BusyBox what it can do.
func listApplets(busybox string) ([]string, error) {
	out, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	applets := strings.Fields(string(out))
	return slices.DeleteFunc(applets, func(name string) bool { return name == filepath.Base(busybox) }), nil
}
