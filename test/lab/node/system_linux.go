package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// unmount detaches the mount at path at once; a process that still uses it keeps it until it ends.
func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil // It is not mounted any more: its peer in another mount went first.
	}
	return err
}

// snapshotter is containerd's way of putting layers upon each other that works in dir. An overlay cannot
// lie on another one, which is what a container's own files are.
func snapshotter(dir string) string {
	for dir != "/" {
		if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		dir = filepath.Dir(dir)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err == nil && st.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return "native"
	}
	return "overlayfs"
}

// DialContext opens a TCP connection to an address inside the cluster's network namespace, from outside of
// it. The address has to be numeric.
func (s Site) DialContext(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = onOwnThread(func() error {
		ns, err := os.Open(s.NetnsPath())
		if err != nil {
			return err
		}
		defer func() { _ = ns.Close() }()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", s.Netns(), err)
		}
		conn, err = (&net.Dialer{}).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// onOwnThread runs f on a thread that ends with it, so that f may move the thread to another namespace.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		// A goroutine that ends without unlocking takes its thread along.
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// But for the main thread, which stays, and by whose namespace the process is known. While this
			// goroutine holds it, another one gets another thread.
			defer runtime.UnlockOSThread()
			done <- onOwnThread(f)
			return
		}
		done <- f()
	}()
	return <-done
}
