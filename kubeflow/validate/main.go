// Renders the kustomizations of kubeflow/ and holds every object against what would admit it to a cluster:
//
//	validate ..                        # each kustomization below a folder
//	validate ../serving/overlays/gpu   # or some of them
//
// Objects are read strictly: a field that the API does not have, or has twice, is an error. Kubernetes' own objects then
// pass the defaults and the validation that the API server does on creation. Of custom resources, which have no schema
// outside a cluster but their Go types, the admission webhooks that ship with KServe and the Training Operator are asked.
// The Flink operator ships no Go types: those of flink.go are written from its reference.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	kservev1alpha1 "github.com/kserve/kserve/pkg/apis/serving/v1alpha1"
	kservev1beta1 "github.com/kserve/kserve/pkg/apis/serving/v1beta1"
	trainingv1 "github.com/kubeflow/training-operator/pkg/apis/kubeflow.org/v1"
	"github.com/kubeflow/training-operator/pkg/webhooks/tensorflow"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	_ "k8s.io/kubernetes/pkg/apis/batch/install"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	"k8s.io/kubernetes/pkg/registry/apps/deployment"
	"k8s.io/kubernetes/pkg/registry/autoscaling/horizontalpodautoscaler"
	"k8s.io/kubernetes/pkg/registry/batch/job"
	"k8s.io/kubernetes/pkg/registry/core/configmap"
	"k8s.io/kubernetes/pkg/registry/core/persistentvolumeclaim"
	"k8s.io/kubernetes/pkg/registry/core/podtemplate"
	"k8s.io/kubernetes/pkg/registry/core/service"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/policy/poddisruptionbudget"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

// Every object is created in a namespace; manifests leave it to `kubectl --namespace`.
const namespace = "framecast"

var strategies = map[string]rest.RESTCreateStrategy{
	"ConfigMap":               configmap.Strategy,
	"Deployment":              deployment.Strategy,
	"Job":                     job.Strategy,
	"HorizontalPodAutoscaler": horizontalpodautoscaler.Strategy,
	"NetworkPolicy":           networkpolicy.Strategy,
	"PersistentVolumeClaim":   persistentvolumeclaim.Strategy,
	"PodDisruptionBudget":     poddisruptionbudget.Strategy,
	"Service":                 service.Strategy,
}

var webhooks = map[string]webhook.CustomValidator{
	"InferenceService": &kservev1beta1.InferenceServiceValidator{},
	"TFJob":            &tensorflow.Webhook{},
}

func main() {
	log.SetLogger(log.Log.WithSink(nil))
	scheme := legacyscheme.Scheme
	for _, add := range []func(*runtime.Scheme) error{
		kservev1alpha1.AddToScheme, kservev1beta1.AddToScheme, trainingv1.AddToScheme, monitoringv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			fail(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var problems []error
	folders, err := kustomizations(os.Args[1:])
	if err != nil {
		fail(err)
	}
	for _, folder := range folders {
		count, err := check(folder, decoder)
		fmt.Printf("%s: %d objects\n", folder, count)
		problems = append(problems, err)
	}
	if err := errors.Join(problems...); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// kustomizations returns the folders at and below the given ones that can be rendered by themselves.
func kustomizations(roots []string) ([]string, error) {
	var folders []string
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.Name() != "kustomization.yaml" {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			var head metav1.TypeMeta
			if err := yaml.Unmarshal(text, &head); err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if head.Kind != types.ComponentKind {
				folders = append(folders, filepath.Dir(path))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(folders) == 0 {
		return nil, fmt.Errorf("expected folders with a kustomization.yaml, received none in %q", roots)
	}
	slices.Sort(folders)
	return slices.Compact(folders), nil
}

// check renders a folder and returns how many objects it has, and what is wrong with each that would be refused.
func check(folder string, decoder runtime.Decoder) (int, error) {
	rendered, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", folder, err)
	}
	var problems []error
	for _, resource := range rendered.Resources() {
		text, err := resource.AsYAML()
		if err == nil {
			err = admit(text, decoder)
		}
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %s %s: %w", folder, resource.GetKind(), resource.GetName(), err))
		}
	}
	return rendered.Size(), errors.Join(problems...)
}

func admit(text []byte, decoder runtime.Decoder) error {
	var head metav1.TypeMeta
	if err := yaml.Unmarshal(text, &head); err != nil {
		return err
	}
	if head.GroupVersionKind() == flinkDeployment {
		return admitFlink(text)
	}
	object, kind, err := decoder.Decode(bytes.TrimSpace(text), nil, nil)
	if err != nil {
		return err
	}
	if strategy, ok := strategies[kind.Kind]; ok {
		return create(strategy, object, *kind)
	}
	if tfjob, ok := object.(*trainingv1.TFJob); ok {
		for role, replica := range tfjob.Spec.TFReplicaSpecs {
			if err := admitPod(replica.Template); err != nil {
				return fmt.Errorf("spec.tfReplicaSpecs.%s: %w", role, err)
			}
		}
	}
	if validator, ok := webhooks[kind.Kind]; ok {
		_, err = validator.ValidateCreate(context.Background(), object)
		return err
	}
	return nil
}

// create does what the API server does with a new object, up to where it would be stored.
func create(strategy rest.RESTCreateStrategy, object runtime.Object, kind schema.GroupVersionKind) error {
	scheme := legacyscheme.Scheme
	scheme.Default(object)
	internal, err := scheme.ConvertToVersion(object, schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return err
	}
	meta := internal.(metav1.Object)
	meta.SetNamespace(namespace)
	rest.FillObjectMetaSystemFields(meta)
	return rest.BeforeCreate(strategy, request.WithNamespace(context.Background(), namespace), internal)
}

func admitPod(template corev1.PodTemplateSpec) error {
	kind := corev1.SchemeGroupVersion.WithKind("PodTemplate")
	object := &corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Name: "pod"}, Template: template}
	object.SetGroupVersionKind(kind)
	return create(podtemplate.Strategy, object, kind)
}
