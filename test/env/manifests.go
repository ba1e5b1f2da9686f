package env

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

const (
	ocmModule  = "open-cluster-management.io/api"
	argoModule = "github.com/argoproj/argo-workflows/v3"
)

// HubCRDs returns the CRDs that the product needs on a hub.
func HubCRDs(ctx context.Context) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	argo, err := crds(ctx, argoModule, "manifests/base/crds/minimal/argoproj.io_*.yaml")
	if err != nil {
		return nil, err
	}
	ocm, err := crds(ctx, ocmModule, "addon/v1beta1/*.crd.yaml", "work/v1/*_manifestworks.crd.yaml", "cluster/v1/*.crd.yaml",
		"cluster/v1alpha1/*_addonplacementscores.crd.yaml", "cluster/v1beta1/*.crd.yaml", "cluster/v1beta2/*.crd.yaml")
	if err != nil {
		return nil, err
	}
	for _, crd := range ocm {
		keepNewest(crd)
	}
	ours, err := crds(ctx, "", "charts/*/files/crds/*.yaml")
	return slices.Concat(argo, ocm, ours), err
}

// ManagedCRDs returns the CRDs that the product needs on a managed cluster: Argo's minimal one of Workflows.
func ManagedCRDs(ctx context.Context) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	return crds(ctx, argoModule, "manifests/base/crds/minimal/argoproj.io_workflows.yaml")
}

// keepNewest leaves of a CRD the last version only. OCM converts between the two of the addon API with a webhook, which
// does not run here.
func keepNewest(crd *apiextensionsv1.CustomResourceDefinition) {
	newest := crd.Spec.Versions[len(crd.Spec.Versions)-1]
	newest.Storage = true
	crd.Spec.Versions = []apiextensionsv1.CustomResourceDefinitionVersion{newest}
}

// crds reads CRDs from files of a module, "" for this project's.
func crds(ctx context.Context, module string, patterns ...string) ([]*apiextensionsv1.CustomResourceDefinition, error) {
	dir, err := moduleDir(ctx, module)
	if err != nil {
		return nil, err
	}
	var crds []*apiextensionsv1.CustomResourceDefinition
	for _, pattern := range patterns {
		read, err := readFiles[apiextensionsv1.CustomResourceDefinition](filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		crds = append(crds, read...)
	}
	return crds, nil
}

// Manifests reads the objects in YAML files of this project.
func Manifests(ctx context.Context, pattern string) ([]*unstructured.Unstructured, error) {
	root, err := moduleDir(ctx, "")
	if err != nil {
		return nil, err
	}
	return readFiles[unstructured.Unstructured](filepath.Join(root, pattern))
}

// readFiles reads the documents in the YAML files that the pattern matches; no match is an error.
func readFiles[T any](pattern string) ([]*T, error) {
	paths, err := filepath.Glob(pattern)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("no file matches %s", pattern)
	}
	var objects []*T
	for _, path := range paths {
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
		for {
			object := new(T)
			if err := decoder.Decode(object); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				return nil, fmt.Errorf("read %s: %w", path, err)
			}
			objects = append(objects, object)
		}
	}
	return objects, nil
}

// moduleDir returns the folder of a module that this project requires, or "" for its own.
func moduleDir(ctx context.Context, module string) (string, error) {
	args := []string{"list", "-m", "-f", "{{.Dir}}"}
	if module != "" {
		args = append(args, module)
	}
	out, err := exec.CommandContext(ctx, "go", args...).Output()
	if err != nil {
		return "", fmt.Errorf("find the folder of module %q: %w", module, err)
	}
	return strings.TrimSpace(string(out)), nil
}
