package lab

import (
	"errors"
	"hash/fnv"
	"net"
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
// folder, so that two labs which start at the same moment do not choose the same.
type portFinder struct{ next, left int }

func newPortFinder(dir string) *portFinder {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(dir))
	blocks := (lastPort - firstPort + 1) / portBlock
	return &portFinder{
		next: firstPort + int(hash.Sum32()%uint32(blocks))*portBlock,
		left: lastPort - firstPort + 1,
	}
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
