package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit in which the kernel shows CPU time to programs: USER_HZ, the same on every Linux that Go runs on.
const ticksPerSecond = 100

// Usage is what a process has used of the machine.
type Usage struct {
	// CPU is the time since its start, in user and kernel mode.
	CPU time.Duration
	// ResidentKiB is its resident memory now, PeakKiB the most since its start or the last ResetPeaks.
	ResidentKiB, PeakKiB int
}

// Usage returns what the cluster's running processes have used, by their names.
func (c *Cluster) Usage() map[string]Usage {
	used := map[string]Usage{}
	for _, p := range c.Processes() {
		if p.Running {
			used[p.Name] = proc.usage(strconv.Itoa(p.PID))
		}
	}
	return used
}

// ResetPeaks makes the present memory of the cluster's processes their peak. Where the kernel does not allow it, the peak stays.
func (c *Cluster) ResetPeaks() {
	for _, p := range c.Processes() {
		if p.Running {
			proc.resetPeak(strconv.Itoa(p.PID))
		}
	}
}

// OwnUsage returns what this process has used.
func OwnUsage() Usage { return proc.usage("self") }

// ResetOwnPeak is ResetPeaks for this process.
func ResetOwnPeak() { proc.resetPeak("self") }

func (r procRoot) usage(process string) Usage {
	used := Usage{ResidentKiB: r.kib(process, "VmRSS:"), PeakKiB: r.kib(process, "VmHWM:")}
	raw, err := os.ReadFile(filepath.Join(string(r), process, "stat"))
	if err != nil {
		return used
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	if len(fields) < 13 {
		return used
	}
	for _, field := range fields[11:13] {
		ticks, _ := strconv.ParseInt(field, 10, 64)
		used.CPU += time.Duration(ticks) * time.Second / ticksPerSecond
	}
	return used
}

func (r procRoot) resetPeak(process string) {
	_ = os.WriteFile(filepath.Join(string(r), process, "clear_refs"), []byte("5"), 0)
}

// kib returns a value of the process' status in KiB, 0 if it is gone.
func (r procRoot) kib(process, field string) int {
	raw, err := os.ReadFile(filepath.Join(string(r), process, "status"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(raw)) {
		if value, found := strings.CutPrefix(line, field); found {
			kib, _ := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")))
			return kib
		}
	}
	return 0
}

// EtcdMetrics reads the metrics of the cluster's etcd.
func (c *Cluster) EtcdMetrics(ctx context.Context) ([]byte, error) {
	return c.read(ctx, "http://"+loopback(c.ports[portEtcd])+"/metrics")
}

// ReadManagerMetrics reads the metrics of the hub manager that runs as a process.
func (l *Lab) ReadManagerMetrics(ctx context.Context) ([]byte, error) {
	return l.Hub().read(ctx, "http://"+l.ManagerMetrics()+"/metrics")
}

// read returns what a URL in the cluster's network answers.
func (c *Cluster) read(ctx context.Context, url string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	httpClient := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: c.dial, DisableKeepAlives: true}}
	response, err := httpClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", url, response.Status)
	}
	return io.ReadAll(response.Body)
}
