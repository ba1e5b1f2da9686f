package main

import (
	"path"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// searchPath is where programs are looked for in every image.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// programs are the files on the machine that the images are made of.
type programs struct {
	// busybox is a static BusyBox: shell and userland of most images.
	busybox string
	// standin is the program of the folder of that name: cowsay, argosay and pause.
	standin string
	// argoexec is Argo's executor; this one is no stand-in, it is built from Argo's source.
	argoexec string
	// argoMulticluster and workflowController are the product and Argo's controller, built from source as well. An
	// image is left out where its program is not named.
	argoMulticluster, workflowController string
}

// image is an image and the names that it goes by.
type image struct {
	// repositories are the names it has, with the registry; every tag of them is this image.
	repositories []string
	// architecture is Go's name for the processor.
	architecture string
	// userland adds BusyBox, its applets as links, and what a userland expects.
	userland bool
	// files are programs on the machine by their path in the image.
	files map[string]string
	// texts are further files by their path in the image.
	texts map[string][]byte
	// compressed packs the layers. Within a machine that is only work: they go from one process to another.
	compressed bool
	created    time.Time
	config     v1.Config
}

// catalog lists the images.
func catalog(p programs) []image {
	images := standIns(p)
	if p.workflowController != "" {
		images = append(images, image{
			repositories: []string{"quay.io/argoproj/workflow-controller"},
			files:        map[string]string{"bin/workflow-controller": p.workflowController},
			config:       v1.Config{Entrypoint: []string{"workflow-controller"}, User: "8737"},
		})
	}
	if p.argoMulticluster != "" {
		images = append(images, productImage(p.argoMulticluster, release{}))
	}
	for i := range images {
		images[i].architecture = runtime.GOARCH
	}
	return images
}

// standIns lists the images that take the place of public ones.
func standIns(p programs) []image {
	return []image{
		{
			repositories: []string{"docker.io/library/busybox", "docker.io/library/alpine"},
			userland:     true,
			config:       v1.Config{Cmd: []string{"sh"}},
		},
		{
			repositories: []string{"docker.io/docker/whalesay"},
			userland:     true,
			files:        map[string]string{"usr/local/bin/cowsay": p.standin},
			config:       v1.Config{Cmd: []string{"sh"}},
		},
		{
			repositories: []string{"docker.io/argoproj/argosay"},
			userland:     true,
			files:        map[string]string{"argosay": p.standin},
			config:       v1.Config{Entrypoint: []string{"/argosay"}},
		},
		{
			repositories: []string{"quay.io/argoproj/argoexec"},
			userland:     true,
			files:        map[string]string{"bin/argoexec": p.argoexec},
			config:       v1.Config{Entrypoint: []string{"argoexec"}},
		},
		{
			repositories: []string{"registry.k8s.io/pause"},
			files:        map[string]string{"pause": p.standin},
			config:       v1.Config{Entrypoint: []string{"/pause"}},
		},
	}
}

// userlandFolders are the folders of a userland, each after its parent.
var userlandFolders = []string{
	"bin", "dev", "etc", "home", "proc", "root", "run", "sbin", "sys", "tmp",
	"usr", "usr/bin", "usr/local", "usr/local/bin", "usr/sbin", "var", "var/lib", "var/log", "var/run", "var/tmp",
}

// userlandFiles are the texts of a userland. The release file tells whoever looks what this is.
var userlandFiles = map[string]string{
	"etc/group":      "root:x:0:\nnobody:x:65534:\n",
	"etc/os-release": "ID=standin\nNAME=\"Stand-in\"\nPRETTY_NAME=\"A lab's stand-in for a public image: BusyBox\"\n",
	"etc/passwd":     "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
}

// mode is the mode of a folder in an image.
func mode(folder string) int64 {
	if path.Base(folder) == "tmp" {
		return 0o1777
	}
	return 0o755
}
