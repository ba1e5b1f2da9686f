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
	"runtime"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
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
		Short: "Builds the stand-ins into a folder, as an OCI image layout",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			applets, err := listApplets(p.busybox)
			if err != nil {
				return err
			}
			return build(catalog(p), p.busybox, applets, out)
		},
	}
	command.Flags().StringVar(&out, "out", "", "the folder; what it holds is replaced")
	command.Flags().StringVar(&p.busybox, "busybox", "/bin/busybox", "a static BusyBox")
	command.Flags().StringVar(&p.standin, "standin", "", "the program standin")
	command.Flags().StringVar(&p.argoexec, "argoexec", "", "Argo's program argoexec")
	for _, name := range []string{"out", "standin", "argoexec"} {
		_ = command.MarkFlagRequired(name) // fails for a flag that does not exist
	}
	return command
}

// build writes the images to a new OCI layout in the folder out.
func build(images []image, busybox string, applets []string, out string) error {
	userland, err := userlandLayer(busybox, applets)
	if err != nil {
		return fmt.Errorf("building the userland: %w", err)
	}
	if err := os.RemoveAll(out); err != nil {
		return err
	}
	index, err := layout.Write(out, empty.Index)
	if err != nil {
		return err
	}
	for _, i := range images {
		built, err := i.build(userland)
		if err != nil {
			return fmt.Errorf("building the stand-in for %s: %w", i.repositories[0], err)
		}
		for _, repository := range i.repositories {
			name := layout.WithAnnotations(map[string]string{refName: repository})
			if err := index.AppendImage(built, name); err != nil {
				return err
			}
		}
	}
	return nil
}

// build makes the image from its layers.
func (i image) build(userland v1.Layer) (v1.Image, error) {
	var layers []v1.Layer
	if i.userland {
		layers = append(layers, userland)
	}
	if len(i.files) > 0 {
		layer, err := filesLayer(i.files)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
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
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, i.config
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

// filesLayer makes a layer of programs, given by their path in the image.
func filesLayer(files map[string]string) (v1.Layer, error) {
	return newLayer(func(w *tar.Writer) error {
		for _, name := range slices.Sorted(maps.Keys(files)) {
			program, err := os.ReadFile(files[name])
			if err != nil {
				return err
			}
			if err := writeFile(w, name, program, 0o755); err != nil {
				return err
			}
		}
		return nil
	})
}

// newLayer makes a layer of what fill writes. It is not compressed: it goes from one process of the machine
// to another, which would only unpack it.
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
