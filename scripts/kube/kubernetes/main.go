// Kubernetes as one executable: the components that a test cluster is made of, linked together once instead of seven
// times. Which of them it is comes from the name it is called by, or from the first argument:
//
//	hyperkube kube-apiserver --etcd-servers …
//	kubectl get nodes                             (a link named kubectl)
//
// Nothing is changed about the components. Built by scripts/kube-tools.sh, run by scripts/kube-up.sh.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

var components = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubelet":                 func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	"kube-proxy":              proxy.NewProxyCommand,
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
}

// component says what this process is to be. The first argument counts only for our own name: a link has said it already.
func component() string {
	name := filepath.Base(os.Args[0])
	if name == "hyperkube" && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	return name
}

func main() {
	name := component()
	if name == "etcd" {
		// Not a cobra command: it reads its flags itself and does not return.
		etcdmain.Main(os.Args)
		return
	}
	command, known := components[name]
	if !known {
		fmt.Fprintf(os.Stderr, "hyperkube: %q is none of its components\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command()))
}
