package lab

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"path/filepath"
	"strconv"
)

const (
	// Ports are taken from below the kernel's range for outgoing connections, which would otherwise come and
	// go on a port between the moment it was found free and the start of its process, or of its restart.
	firstPort, lastPort = 18000, 31999
	// portBlock is the distance between the places where two labs begin to look.
	portBlock = 100
)

// portFinder hands out ports that are free on 127.0.0.1. Each lab begins at a place of its own, taken from its
// folder, where no other lab begins that runs: so two labs which start at the same moment do not choose the same.
type portFinder struct{ next, left int }

// begun keeps the places where this process' labs begin locked until it ends: much later than a port is handed out, something
// listens there.
var begun []func()

func newPortFinder(dir string) (*portFinder, error) {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(dir))
	blocks := (lastPort - firstPort + 1) / portBlock
	locks := filepath.Join(os.TempDir(), fmt.Sprintf("argo-multicluster-lab-ports-%d", os.Getuid()))
	var err error
	for i := range blocks {
		block := (int(hash.Sum32()%uint32(blocks)) + i) % blocks
		var unlock func()
		if unlock, err = lockFolder(filepath.Join(locks, strconv.Itoa(block))); err == nil {
			begun = append(begun, unlock)
			return &portFinder{next: firstPort + block*portBlock, left: lastPort - firstPort + 1}, nil
		}
	}
	return nil, fmt.Errorf("no place for another lab's ports: %w", err)
}

func (f *portFinder) find() (int, error) {
	for ; f.left > 0; f.left-- {
		port := f.next
		if f.next++; f.next > lastPort {
			f.next = firstPort
		}
		listener, err := net.Listen("tcp", loopback(port))
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return 0, err
		}
		f.left--
		return port, nil
	}
	return 0, errors.New("no free port on 127.0.0.1")
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
