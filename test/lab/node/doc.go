// Package node gives a lab cluster a real node: a kubelet and a containerd of its own in a network
// namespace of its own, so that pods are containers and not simulations.
//
// It needs Linux, root and a handful of distribution packages, and no container registry: images come
// from stand-ins that the lab builds itself (test/lab/tools/images).
//
// A node does not know what its cluster is for. A [Site] says where the cluster lives on the lab's
// network, a [Node] adds what a kubelet has to be told, and the lab starts the processes that a Node
// describes in the same way as all its others.
//
// Everything that a node leaves on the machine bears the lab's name, in five places: network
// namespaces (argolab.<lab>.<cluster>), cgroups (/argolab/<lab>), /run/argolab/<lab>,
// /var/lib/argolab/<lab>, and processes inside those namespaces and cgroups. [Clean] needs nothing but
// that name, so it also works after a crash, and after the lab's own folder is gone.
package node
