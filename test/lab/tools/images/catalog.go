package main

import (
	"path"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// searchPath is where programs are looked for in every stand-in.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// programs are the files on the machine that the images are made of.
type programs struct {
	// busybox is a static BusyBox: shell and userland of most images.
	busybox string
	// standin is the program of the folder of that name: cowsay, argosay and pause.
	standin string
	// argoexec is Argo's executor; this one is no stand-in, it is built from Argo's source.
	argoexec string
}

// image is a stand-in and the names that it goes by.
type image struct {
	// repositories are the names it stands in for, with the registry; every tag of them is this image.
	repositories []string
	// userland adds BusyBox, its applets as links, and what a userland expects.
	userland bool
	// files are programs on the machine by their path in the image.
	files  map[string]string
	config v1.Config
}

// catalog lists the stand-ins.
func catalog(p programs) []image {
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
