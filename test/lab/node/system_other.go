//go:build !linux

package node

import (
	"context"
	"errors"
	"net"
)

func unmount(string) error { return errors.ErrUnsupported }

func snapshotter(string) string { return "native" }

// DialContext is for Linux, as is the whole package; elsewhere Supported says so, and nothing calls this.
func (s Site) DialContext(context.Context, string, string) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}
