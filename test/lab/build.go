package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// argoModule is the Go module of Argo Workflows.
const argoModule = "github.com/argoproj/argo-workflows/v3"

// labBinary is the lab's own program, which also runs its helper processes.
const labBinary = "lab"

// ownModules are the programs that are pinned by a module of their own, in a folder of that name in test/lab/tools.
var ownModules = []string{"clusteradm", Toxiproxy, s3}

// toolPackages are the programs of the nested modules in test/lab/tools by the name of their binary.
var toolPackages = map[string]string{
	"etcd":                    "./etcd",
	"ocm":                     "./ocm",
	"images":                  "./images",
	"standin":                 "./images/standin",
	"kube-apiserver":          "k8s.io/kubernetes/cmd/kube-apiserver",
	"kube-controller-manager": "k8s.io/kubernetes/cmd/kube-controller-manager",
	"kube-scheduler":          "k8s.io/kubernetes/cmd/kube-scheduler",
	"kubelet":                 "k8s.io/kubernetes/cmd/kubelet",
	"kubectl":                 "k8s.io/kubernetes/cmd/kubectl",
	"workflow-controller":     argoModule + "/cmd/workflow-controller",
	"argoexec":                argoModule + "/cmd/argoexec",
	"argo":                    argoModule + "/cmd/argo",
	"helm":                    "helm.sh/helm/v3/cmd/helm",
	"clusteradm":              "open-cluster-management.io/clusteradm/cmd/clusteradm",
	Toxiproxy:                 "github.com/Shopify/toxiproxy/v2/cmd/server",
	s3:                        ".",
}

// simulatedTools are what a lab with simulated pods runs; realTools what real pods need besides.
var (
	simulatedTools = []string{"etcd", "kube-apiserver", "kube-controller-manager", "ocm", "workflow-controller"}
	realTools      = []string{"kube-scheduler", "kubelet", "argoexec", "images", "standin"}
)

// goBuild is the form of every build of the lab. One set of flags: each combination fills a cache of its own,
// of some 4 GB. Argo's programs need the tag with this version of Kubernetes.
var goBuild = []string{"build", "-trimpath", "-buildvcs=false", "-tags=kubernetes_protomessage_one_more_release"}

// linkerFlags leave out what only debuggers read, which is a third of a program, and take Kubernetes' version and the
// minor number in it: Helm cannot read the version that Kubernetes' programs have otherwise, and on its own assumes one
// of years ago when it renders a chart without a cluster.
const linkerFlags = "-ldflags=-s -w -X=k8s.io/component-base/version.gitVersion=%s" +
	" -X=helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=%s"

// builder builds programs from Go modules into <repository>/bin.
type builder struct {
	repository string
	progress   *progress
}

func (b *builder) bin() string   { return filepath.Join(b.repository, "bin", "lab") }
func (b *builder) tools() string { return filepath.Join(b.repository, "test", "lab", "tools") }

// module returns the folder of the Go module that pins the versions of a program.
func (b *builder) module(name string) string {
	if slices.Contains(ownModules, name) {
		return filepath.Join(b.tools(), name)
	}
	return b.tools()
}

// Build builds the named programs, or with no name all that a lab can use, and the lab's own. Programs are built
// once and stay until the versions in test/lab/tools change.
func Build(ctx context.Context, options Options, names ...string) error {
	repository, err := findRepository()
	if err != nil {
		return err
	}
	if options, err = options.complete(repository); err != nil {
		return err
	}
	if len(names) == 0 {
		names = slices.Concat(simulatedTools, realTools, []string{"kubectl", "argo", "helm"}, ownModules)
	}
	return (&builder{repository: repository, progress: newProgress(options.Progress)}).build(ctx, names)
}

func (b *builder) build(ctx context.Context, names []string) error {
	unlock, err := b.lock()
	if err != nil {
		return err
	}
	defer unlock()
	var missing []string
	version, err := b.goOutput(ctx, b.tools(), "env", "GOVERSION")
	if err != nil {
		return err
	}
	stamps := map[string]string{}
	for _, name := range names {
		if stamps[name], err = b.stamp(name, version); err != nil {
			return err
		}
		if built, err := os.ReadFile(b.stampPath(name)); err != nil || string(built) != stamps[name] || !exists(filepath.Join(b.bin(), name)) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		if err := b.prepareModule(ctx); err != nil {
			return fmt.Errorf("prepare the modules of the lab's programs: %w", err)
		}
	}
	for i, name := range missing {
		what := fmt.Sprintf("building %s (%d of %d)", name, i+1, len(missing))
		if err := b.progress.step(what, func() error { return b.buildTool(ctx, name, stamps[name]) }); err != nil {
			return fmt.Errorf("build %s: %w", name, err)
		}
	}
	return b.goRun(ctx, b.repository, append(slices.Clone(goBuild), "-o", filepath.Join(b.bin(), labBinary), "./test/lab/cmd/lab")...)
}

func (b *builder) buildTool(ctx context.Context, name, stamp string) error {
	version, err := b.moduleVersion(ctx, "k8s.io/kubernetes")
	if err != nil {
		return err
	}
	args := append(slices.Clone(goBuild), fmt.Sprintf(linkerFlags, version, strings.Split(version, ".")[1]),
		"-o", filepath.Join(b.bin(), name))
	if b.module(name) == b.tools() {
		args = append(args, "-modfile="+b.modfile())
	}
	if err := b.goRun(ctx, b.module(name), append(args, toolPackages[name])...); err != nil {
		return err
	}
	return writeFile(b.stampPath(name), []byte(stamp))
}

func (b *builder) stampPath(name string) string { return filepath.Join(b.bin(), "stamp", name) }

// stamp identifies what a program is built from: Go's version and the flags, the modules' versions, and for a main of the
// lab's own its source.
func (b *builder) stamp(name, version string) (string, error) {
	own, known := toolPackages[name]
	if !known {
		return "", fmt.Errorf("no program %q: want one of %s", name, strings.Join(programNames(), ", "))
	}
	sum := sha256.New()
	fmt.Fprintln(sum, version, runtime.GOOS, runtime.GOARCH, goBuild, linkerFlags)
	patterns := []string{"go.mod", "go.sum"}
	if strings.HasPrefix(own, ".") {
		patterns = append(patterns, filepath.Join(own, "*.go"))
	}
	for _, pattern := range patterns {
		paths, err := filepath.Glob(filepath.Join(b.module(name), pattern))
		if err != nil {
			return "", err
		}
		for _, path := range paths {
			raw, err := os.ReadFile(path)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(path), len(raw), raw)
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func (b *builder) modfile() string { return filepath.Join(b.bin(), "src", "tools.mod") }

// labelsLookup is a method that labels of Kubernetes have had since 1.35, and those of argoexec have not.
const labelsLookup = `package executor

func (g gjsonLabels) Lookup(label string) (string, bool) { return g.Get(label), g.Has(label) }
`

// prepareModule writes a go.mod beside a completed copy of Argo's module and points to it. The published module does
// not compile: the user interface that the CLI embeds is built by another tool, and module archives leave out the
// symbolic link which is argoexec's signal handling for Linux.
func (b *builder) prepareModule(ctx context.Context) error {
	version, err := b.moduleVersion(ctx, argoModule)
	if err != nil {
		return err
	}
	argo := filepath.Join(b.bin(), "src", "argo-workflows-"+version)
	if !exists(argo) {
		if err := b.copyArgo(ctx, argo); err != nil {
			return errors.Join(err, os.RemoveAll(argo))
		}
	}
	for from, to := range map[string]string{"go.mod": b.modfile(), "go.sum": strings.TrimSuffix(b.modfile(), ".mod") + ".sum"} {
		raw, err := os.ReadFile(filepath.Join(b.tools(), from))
		if err != nil {
			return err
		}
		if err := writeFile(to, raw); err != nil {
			return err
		}
	}
	return b.goRun(ctx, b.tools(), "mod", "edit", "-replace="+argoModule+"="+argo, b.modfile())
}

func (b *builder) copyArgo(ctx context.Context, to string) error {
	from, err := b.moduleDir(ctx, b.tools(), argoModule)
	if err != nil {
		return err
	}
	work := to + ".new"
	if err := os.RemoveAll(work); err != nil {
		return err
	}
	if err := os.CopyFS(work, os.DirFS(from)); err != nil {
		return fmt.Errorf("copy %s: %w", argoModule, err)
	}
	signals := filepath.Join(work, "workflow", "executor", "osspecific")
	raw, err := os.ReadFile(filepath.Join(signals, "signal_darwin.go"))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(signals, "signal_linux.go"), raw); err != nil {
		return err
	}
	lookup := filepath.Join(work, "workflow", "executor", "labels_lookup.go")
	if err := writeFile(lookup, []byte(labelsLookup)); err != nil {
		return err
	}
	page := []byte("<!doctype html><title>Argo Workflows</title><p>This build has no user interface.</p>\n")
	if err := writeFile(filepath.Join(work, "ui", "dist", "app", "index.html"), page); err != nil {
		return err
	}
	return os.Rename(work, to)
}

// moduleVersion returns the version of a module that the lab's programs are built from.
func (b *builder) moduleVersion(ctx context.Context, module string) (string, error) {
	return b.goOutput(ctx, b.tools(), "list", "-m", "-f", "{{.Version}}", module)
}

// moduleDir returns the folder of a module in the version that the module in dir asks for, and downloads it if needed.
func (b *builder) moduleDir(ctx context.Context, dir, module string) (string, error) {
	for _, download := range []bool{false, true} {
		if download {
			if err := b.goRun(ctx, dir, "mod", "download", module); err != nil {
				return "", err
			}
		}
		found, err := b.goOutput(ctx, dir, "list", "-m", "-f", "{{.Dir}}", module)
		if err != nil || found != "" {
			return found, err
		}
	}
	return "", fmt.Errorf("module %s has no folder", module)
}

func (b *builder) goRun(ctx context.Context, dir string, args ...string) error {
	_, err := b.goOutput(ctx, dir, args...)
	return err
}

func (b *builder) goOutput(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	// go, asked to stop, also stops its compilers and removes what they left.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopTimeout
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); ctx.Err() != nil {
		return "", context.Cause(ctx)
	} else if err != nil {
		return "", fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// lock keeps two labs from building the same program at the same time.
func (b *builder) lock() (unlock func(), err error) {
	if err := os.MkdirAll(b.bin(), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(b.bin(), ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return nil, errors.Join(fmt.Errorf("wait for another build: %w", err), file.Close())
	}
	return func() { _ = file.Close() }, nil
}

func programNames() []string {
	var names []string
	for name := range toolPackages {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// findRepository returns the root of the repository that the working directory is in.
func findRepository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		raw, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(raw), "module open-cluster-management.io/argo-workflow-multicluster\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("the working directory is not in the repository of argo-workflow-multicluster")
		}
		dir = filepath.Dir(dir)
	}
}
