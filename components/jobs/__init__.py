"""Training on a Kubernetes cluster: the only users of `kubernetes` and `kubeflow.training`."""
