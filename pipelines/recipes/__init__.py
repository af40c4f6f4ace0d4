"""Recipes: functions that return a whole experiment. A variant calls another and changes what differs.

They stand in a module for each scale: digits in seconds, CIFAR-10 on CPUs in minutes, CIFAR-10 at the papers'
schedules. To import the package lists them in the registry.
"""

from lossmap.pipelines.recipes import cifar10_cpu, cifar10_gpu, digits, others

__all__ = ["cifar10_cpu", "cifar10_gpu", "digits", "others"]
