# Makes install.yaml of what "helm template --no-hooks" renders of the chart: the namespace, which Helm creates by itself, and no labels that
# say that Helm manages the objects. The namespace has no label by which the installation is deleted: more may be in it.
1i\
apiVersion: v1\
kind: Namespace\
metadata: {name: argo-workflow-multicluster}
/^ *helm\.sh\/chart: /d
/^ *app\.kubernetes\.io\/managed-by: Helm$/d
