//go:build !linux

package node

import (
	"context"
	"errors"
	"net"
)

func unmount(string) error { return errors.ErrUnsupported }

func snapshotter(string) string { return "native" }

// DialContext is for Linux only, like everything in this package that Supported does not rule out.
func (s Site) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}
