// Command images takes the place of the public container registries in a lab, which can reach none.
//
// It builds a handful of images from programs that are on the machine, and serves them under the names
// that Argo's published examples use, so that those run unchanged. They are stand-ins: the name and the
// command line are the public image's, the content is not. The product's image, Argo's controller and
// its executor are none: they are built from source. The command archive writes the product's image to
// a file, for a release.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

func main() {
	command := &cobra.Command{
		Use:          "images",
		Short:        "Builds and serves container images without a registry to pull from",
		SilenceUsage: true,
	}
	command.AddCommand(newBuildCommand(), newServeCommand(), newArchiveCommand())
	if err := command.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
