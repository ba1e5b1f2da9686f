package lab

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// s3 is the program, and the process on the hub, that is the lab's object store.
const s3 = "s3"

// S3 is the lab's object store, as Argo's S3 driver wants to know it: over plain HTTP (insecure), with the bucket in the path. What
// is in it is lost when the lab stops.
type S3 struct {
	// Endpoint is its host and port for the pods of all clusters, and for what runs on the hub, such as an argo-server.
	Endpoint string
	// HostEndpoint is the same for other programs on this machine.
	HostEndpoint string
	// Bucket is there from the start.
	Bucket string
	// AccessKey and SecretKey are those that requests have to be signed with; any others are refused.
	AccessKey, SecretKey string
}

// S3 returns the object store of a lab that was started with Options.S3.
func (l *Lab) S3() S3 {
	hub := l.Hub()
	store := S3{HostEndpoint: loopback(hub.ports[portS3]), Bucket: "artifacts", AccessKey: "lab", SecretKey: "lab-secret"}
	store.Endpoint = store.HostEndpoint
	if hub.real() {
		store.Endpoint = net.JoinHostPort(hub.site().NodeIP(), strconv.Itoa(hub.ports[portS3]))
	}
	return store
}

// startS3 starts the object store where the options want one. In a lab with real pods it listens at all addresses of the hub's
// network, which is connected to nothing outside the lab.
func (l *Lab) startS3(ctx context.Context) error {
	if !l.opts.S3 {
		return nil
	}
	hub, store := l.Hub(), l.S3()
	listen := store.HostEndpoint
	if hub.real() {
		listen = fmt.Sprintf(":%d", hub.ports[portS3])
	}
	if err := hub.Start(ctx, Process{
		Name: s3,
		Path: l.binary(s3),
		Args: []string{
			"--listen=" + listen, "--bucket=" + store.Bucket, "--access-key=" + store.AccessKey, "--secret-key=" + store.SecretKey,
		},
		Ready: hub.accepts(store.Endpoint),
	}); err != nil {
		return err
	}
	l.progress.printf("hub: the object store is ready")
	if !hub.real() {
		return nil
	}
	return hub.expose(ctx, portS3)
}
