package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// dataLink is the symbolic link to the folder with the current files; each file in the mirror points through it, so that
// all change at once. The kubelet does the same with a Secret's volume.
const dataLink = "..data"

// MirrorSecret keeps the folder equal to the Secret's data until the context ends, or an error occurs.
func MirrorSecret(ctx context.Context, config *rest.Config, namespace, name, folder string) error {
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	factory := informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
		}))
	write := func(object any) {
		if secret, ok := object.(*corev1.Secret); ok {
			if err := replaceFiles(folder, secret.Data); err != nil {
				fail(fmt.Errorf("mirror Secret %s/%s: %w", namespace, name, err))
			}
		}
	}
	_, err = factory.Core().V1().Secrets().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    write,
		UpdateFunc: func(_, secret any) { write(secret) },
	})
	if err != nil {
		return err
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// replaceFiles makes the folder hold these files and no others, in one step for a reader.
func replaceFiles(folder string, files map[string][]byte) error {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return err
	}
	previous, _ := os.Readlink(filepath.Join(folder, dataLink))
	current := ".." + time.Now().UTC().Format("2006_01_02_15_04_05.000000000")
	for name, content := range files {
		if err := writeFile(filepath.Join(folder, current, name), content); err != nil {
			return err
		}
	}
	if err := replaceLink(current, filepath.Join(folder, dataLink)); err != nil {
		return err
	}
	for name := range files {
		if err := replaceLink(filepath.Join(dataLink, name), filepath.Join(folder, name)); err != nil {
			return err
		}
	}
	if err := removeOthers(folder, files); err != nil || previous == "" {
		return err
	}
	return os.RemoveAll(filepath.Join(folder, previous))
}

func replaceLink(target, link string) error {
	temporary := link + ".new"
	if err := os.RemoveAll(temporary); err != nil {
		return err
	}
	if err := os.Symlink(target, temporary); err != nil {
		return err
	}
	return os.Rename(temporary, link)
}

func removeOthers(folder string, files map[string][]byte) error {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if _, wanted := files[entry.Name()]; wanted || entry.Type() != os.ModeSymlink || entry.Name() == dataLink {
			continue
		}
		if err := os.Remove(filepath.Join(folder, entry.Name())); err != nil {
			return err
		}
	}
	return nil
}
