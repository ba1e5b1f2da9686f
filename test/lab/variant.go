package lab

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Edit replaces a text in a file of the repository, which has it exactly once.
type Edit struct {
	// File is the path in the repository.
	File     string
	Old, New string
}

// UseVariant builds the product with some of its source replaced, and nothing changed in the repository. From then on this
// value of the lab starts that build. It is for tests of tests: what has been broken must be found.
func (l *Lab) UseVariant(ctx context.Context, name string, edits ...Edit) error {
	folder := filepath.Join(l.dir(), "variants", name)
	replaced := map[string]string{}
	for _, edit := range edits {
		path := filepath.Join(l.repository, edit.File)
		if replaced[path] == "" {
			replaced[path] = filepath.Join(folder, filepath.Base(filepath.Dir(path))+"-"+filepath.Base(path))
			original, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := writeFile(replaced[path], original); err != nil {
				return err
			}
		}
		if err := edit.apply(replaced[path]); err != nil {
			return fmt.Errorf("variant %s: %w", name, err)
		}
	}
	overlay := filepath.Join(folder, "overlay.json")
	if err := writeJSON(overlay, map[string]any{"Replace": replaced}); err != nil {
		return err
	}
	binary := filepath.Join(folder, "argo-multicluster")
	args := append(slices.Clone(goBuild), "-overlay="+overlay, "-o", binary, "./cmd/argo-multicluster")
	if err := l.builder().goRun(ctx, l.repository, args...); err != nil {
		return err
	}
	l.variant = binary
	return nil
}

// UseSource builds the product from another folder, such as that of an earlier commit, or from the repository again if that is "". From
// then on this value of the lab starts that build.
func (l *Lab) UseSource(ctx context.Context, folder string) error {
	l.variant = ""
	if folder == "" {
		return l.BuildProduct(ctx)
	}
	binary := filepath.Join(l.dir(), "variants", filepath.Base(folder), "argo-multicluster")
	if err := l.builder().goRun(ctx, folder, append(slices.Clone(goBuild), "-o", binary, "./cmd/argo-multicluster")...); err != nil {
		return err
	}
	l.variant = binary
	return nil
}

// CheckEdits returns an error unless the repository has what the edits replace.
func (l *Lab) CheckEdits(edits ...Edit) error {
	for _, edit := range edits {
		if _, err := edit.read(filepath.Join(l.repository, edit.File)); err != nil {
			return err
		}
	}
	return nil
}

// apply edits a copy of the file.
func (e Edit) apply(path string) error {
	source, err := e.read(path)
	if err != nil {
		return err
	}
	return writeFile(path, bytes.Replace(source, []byte(e.Old), []byte(e.New), 1))
}

// read returns what is to be edited.
func (e Edit) read(path string) ([]byte, error) {
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if count := bytes.Count(source, []byte(e.Old)); count != 1 {
		return nil, fmt.Errorf("%s has %d times, not once: %s", e.File, count, e.Old)
	}
	return source, nil
}
